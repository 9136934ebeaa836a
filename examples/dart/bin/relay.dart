/// dart run bin/relay.dart upload rsp-bgs exports/comptes_global_annee_2023.json
/// dart run bin/relay.dart list rsp-bgs
/// dart run bin/relay.dart download rsp-bgs comptes_global_annee_2023.json
/// dart run bin/relay.dart listen rsp-bgs
///
/// RELAIS_SERVER names the server (http://127.0.0.1:8000 if unset), RELAIS_KEY a key if it wants one.
library;

import 'dart:convert';
import 'dart:io';

import 'package:relais_example/relay_service.dart';

Future<void> main(List<String> arguments) async {
  final relay = RelayService(
    baseUrl: Platform.environment['RELAIS_SERVER'] ?? 'http://127.0.0.1:8000',
    key: Platform.environment['RELAIS_KEY'],
  );
  try {
    switch (arguments) {
      case ['upload', final societe, ...final paths]:
        for (final path in paths) {
          final file = File(path);
          final reply = await relay.uploadFile(societe, file.uri.pathSegments.last, await file.readAsBytes());
          print('${reply['changed'] == false ? 'unchanged' : 'sent'} ${reply['filename']} ${reply['size']}');
        }
      case ['list']:
        (await relay.getSocietes()).forEach(print);
      case ['list', final societe]:
        for (final file in await relay.getFiles(societe)) {
          print('${file.filename} ${file.size} ${file.lastModified.toIso8601String()}');
        }
      case ['download', final societe, final filename]:
        print(json.encode(await relay.downloadFile(societe, filename)));
      case ['listen', ...final societes]:
        await _listen(relay, societes);
      default:
        stderr.writeln('usage: relay upload|list|download|listen [SOCIETE] [FILE…]');
        exitCode = 2;
    }
  } on RelayException catch (error) {
    stderr.writeln('relay: $error');
    exitCode = 1;
  } finally {
    relay.close();
  }
}

/// Prints events and keeps the place in a file, so that the next start continues there.
Future<void> _listen(RelayService relay, List<String> societes) async {
  final place = File('.relay-cursor');
  final since = place.existsSync() ? place.readAsStringSync().trim() : null;
  await for (final event in relay.listenNotifications(societes: societes, since: since)) {
    if (event.type == 'resync') {
      print('too long away: list the files again');
    } else {
      print('${event.type} ${event.societe} ${event.filename ?? ''}');
    }
    if (event.cursor != null) {
      place.writeAsStringSync(event.cursor!);
    }
  }
}
