// A server on the centrifuge module: every client hears one channel, and whatever one says goes to all.
package main

import (
	"context"
	"log"
	"net/http"
	"os"

	"github.com/centrifugal/centrifuge"
)

const channel = "all"

func main() {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		log.Fatal(err)
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{
			Credentials:   &centrifuge.Credentials{},
			Subscriptions: map[string]centrifuge.SubscribeOptions{channel: {}},
		}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnPublish(func(_ centrifuge.PublishEvent, done centrifuge.PublishCallback) {
			done(centrifuge.PublishReply{}, nil)
		})
	})
	if err := node.Run(); err != nil {
		log.Fatal(err)
	}
	anyOrigin := func(*http.Request) bool { return true }
	sockets := centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{CheckOrigin: anyOrigin})
	http.Handle("/connection/websocket", sockets)
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}
