"""Django Channels as its tutorial shows it: every client is in one group, and whatever one says goes to all.

Started by `run.py`, with the socket of its Redis in the environment.
"""

import os

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="only for the benchmark",
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            # The default capacity of 100 would drop messages of a burst.
            "CONFIG": {"hosts": [os.environ["FANOUT_REDIS"]], "capacity": 100_000},
        }
    },
)
django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402


class All(AsyncWebsocketConsumer):
    groups = ["all"]

    async def receive(self, text_data=None, bytes_data=None):
        await self.channel_layer.group_send("all", {"type": "all.message", "text": text_data})

    async def all_message(self, event):
        await self.send(text_data=event["text"])


application = ProtocolTypeRouter({"websocket": URLRouter([path("ws", All.as_asgi())])})
