/// A client of the relay for Flutter and Dart: send, list, fetch and listen, without losing an event.
library;

import 'dart:async';
import 'dart:convert';
import 'dart:math';

import 'package:http/http.dart' as http;
import 'package:web_socket_channel/web_socket_channel.dart';

/// The server said no. [detail] says why; [line] and [column] say where, for JSON that is not valid.
class RelayException implements Exception {
  RelayException(this.status, this.detail, {this.line, this.column});

  final int status;
  final String detail;
  final int? line;
  final int? column;

  @override
  String toString() => line == null ? '$detail ($status)' : '$detail ($status, line $line, column $column)';
}

/// A file as the server lists it.
class RelayFile {
  RelayFile.fromJson(Map<String, dynamic> json)
      : filename = json['filename'] as String,
        societe = json['societe'] as String,
        size = json['size'] as int,
        sha256 = json['sha256'] as String?,
        lastModified = DateTime.parse(json['last_modified'] as String);

  final String filename;
  final String societe;
  final int size;
  final String? sha256;
  final DateTime lastModified;
}

/// Something that happened. [cursor] is the place to continue from once it is dealt with.
class RelayEvent {
  RelayEvent(this.type, this.cursor, this.data);

  /// `file_uploaded`, `file_deleted`, `sync_completed`, or `resync`: the server no longer knows what happened
  /// since the cursor, so list the files again.
  final String type;
  final String? cursor;
  final Map<String, dynamic> data;

  String? get societe => data['societe'] as String?;
  String? get filename => data['filename'] as String?;
}

/// One server, and the right to use it.
class RelayService {
  RelayService({this.baseUrl = 'http://localhost:8000', this.key, http.Client? client})
      : _http = client ?? http.Client();

  final String baseUrl;

  /// An API key or a token, if the server wants one.
  final String? key;

  final http.Client _http;
  final Random _chance = Random();

  static const Duration _timeout = Duration(seconds: 30);
  static const int _pauseMaxMs = 30000;

  Map<String, String> get _headers => {if (key != null) 'Authorization': 'Bearer $key'};

  Future<List<String>> getSocietes() async {
    final body = await _json(_http.get(_address(['societes']), headers: _headers));
    return List<String>.from(body['societes'] as List);
  }

  Future<List<RelayFile>> getFiles(String societe) async {
    final body = await _json(_http.get(_address(['societe', societe, 'files']), headers: _headers));
    return [for (final file in body['files'] as List) RelayFile.fromJson(file as Map<String, dynamic>)];
  }

  Future<Map<String, dynamic>> downloadFile(String societe, String filename) =>
      _json(_http.get(_address(['download', societe, filename]), headers: _headers));

  /// Sends a file. The same content again changes nothing and tells nobody.
  Future<Map<String, dynamic>> uploadFile(String societe, String filename, List<int> content) {
    final request = http.MultipartRequest('POST', _address(['upload', societe]))
      ..headers.addAll(_headers)
      ..files.add(http.MultipartFile.fromBytes('file', content, filename: filename));
    return _json(_http.send(request).then(http.Response.fromStream));
  }

  Future<void> deleteFile(String societe, String filename) =>
      _json(_http.delete(_address(['delete', societe, filename]), headers: _headers));

  /// Events for ever, across lost connections.
  ///
  /// Keep [RelayEvent.cursor] once the event is dealt with. Given as [since] to the next call, it continues
  /// there: nothing is missed and nothing comes twice. On a phone, cancel the subscription when the app goes to
  /// the background and listen again from the cursor when it returns.
  Stream<RelayEvent> listenNotifications({List<String> societes = const [], String? since}) async* {
    var cursor = since;
    var failures = 0;
    while (true) {
      final channel = WebSocketChannel.connect(_socketAddress(societes, cursor));
      try {
        await channel.ready;
        await for (final text in channel.stream) {
          failures = 0;
          final frame = json.decode(text as String) as Map<String, dynamic>;
          cursor = frame['cursor'] as String? ?? cursor;
          if (frame['type'] != 'connection') {
            yield RelayEvent(frame['type'] as String, cursor, frame);
          } else if (frame['recovered'] == false) {
            yield RelayEvent('resync', cursor, const {});
          }
        }
      } on Exception {
        await _failIfRefused();
      } finally {
        unawaited(channel.sink.close());
      }
      final code = channel.closeCode;
      if (code == 4001 || code == 4003) {
        throw RelayException(code!, channel.closeReason ?? 'the server refuses to let us listen');
      }
      // Chance keeps many phones from coming back in the same moment.
      final pause = min(_pauseMaxMs, 500 << failures);
      await Future<void>.delayed(Duration(milliseconds: pause ~/ 2 + _chance.nextInt(pause ~/ 2)));
      failures = min(failures + 1, 10);
    }
  }

  /// A refused handshake does not say why; a plain request does.
  Future<void> _failIfRefused() async {
    try {
      await getSocietes();
    } on RelayException catch (error) {
      if (error.status == 401 || error.status == 403) {
        rethrow;
      }
    } on Exception {
      // Not reachable either way: it is tried again.
    }
  }

  void close() => _http.close();

  Uri _address(List<String> path) {
    final base = Uri.parse(baseUrl);
    final before = base.pathSegments.where((segment) => segment.isNotEmpty);
    return base.replace(pathSegments: [...before, 'api', 'files', ...path]);
  }

  /// A browser cannot send headers with a WebSocket, so the key travels in the address: use https.
  Uri _socketAddress(List<String> societes, String? cursor) {
    final address = _address(['ws']);
    return address.replace(
      scheme: address.scheme == 'https' ? 'wss' : 'ws',
      queryParameters: <String, dynamic>{
        if (societes.isNotEmpty) 'societe': societes,
        if (cursor != null) 'since': cursor,
        if (key != null) 'token': key,
      },
    );
  }

  Future<Map<String, dynamic>> _json(Future<http.Response> request) async {
    final answer = await request.timeout(_timeout);
    final text = utf8.decode(answer.bodyBytes, allowMalformed: true);
    if (answer.statusCode < 300) {
      return json.decode(text) as Map<String, dynamic>;
    }
    Map<String, dynamic> body;
    try {
      body = json.decode(text) as Map<String, dynamic>;
    } on FormatException {
      body = {'detail': answer.reasonPhrase};
    }
    throw RelayException(
      answer.statusCode,
      body['detail'] as String? ?? 'no reason given',
      line: body['line'] as int?,
      column: body['column'] as int?,
    );
  }
}
