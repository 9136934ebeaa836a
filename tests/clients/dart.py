"""Dart's `http` package before its version 1.0, as far as an app notices it: how it decodes a body."""

import re

import requests

HEADERS = {"User-Agent": "Dart/2.19 (dart:io)", "Accept-Encoding": "gzip", "Accept": None}


def body(response):
    """`Response.body`: decoded by the charset of the content type, and as Latin-1 if it names none. The rule of that
    package, also for JSON."""
    named = re.search(r'charset="?([\w-]+)', response.headers.get("Content-Type", ""), re.IGNORECASE)
    return response.content.decode(named.group(1) if named else "latin-1")


def get(url):
    """`http.get(url)` with its headers and no others."""
    return requests.get(url, headers=HEADERS, timeout=60)


def delete(url):
    return requests.delete(url, headers=HEADERS, timeout=60)


def post(url, **options):
    return requests.post(url, headers=HEADERS, timeout=60, **options)


def multipart(url, filename, content):
    """`MultipartRequest` with one `MultipartFile.fromBytes`: its boundary, its order of headers, its line ends."""
    boundary = "dart-http-boundary-" + "q" * 51
    head = (f"--{boundary}\r\ncontent-type: application/octet-stream\r\n"
            f'content-disposition: form-data; name="file"; filename="{filename}"\r\n\r\n')
    text = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    kind = f"multipart/form-data; boundary={boundary}"
    return requests.post(url, data=text, headers=HEADERS | {"content-type": kind}, timeout=60)
