//! What was allowed when it was asked for and comes to its transaction later, when the rights have ended: it is not done.

use relais::AppError;
use relais::auth::{Credential, Principal};
use relais::features::accounts::{Actor, Grant, NewUser, UserChanges};
use relais::features::chat::NewMessage;
use relais::features::live::{ModuleChanges, NewClaim, NewCommand, NewModule, Visibility};
use relais::features::publish::{NewEvent, Publishing};
use serde_json::json;

use super::rights::{accounts, disable, key, tester};
use super::{Person, World, on_both};
use relais::features::chat::Chat;
use relais::features::live::Live;

const STATION: &str = "MC-1001-STN";

/// Somebody as a call of theirs began.
async fn principal(world: &World, who: &Person) -> Principal {
    let credential = Credential::Bearer(who.token.clone());
    world.running.app().auth().authenticate(Some(credential)).await.unwrap()
}

fn refused<T>(what: &str, outcome: Result<T, AppError>) {
    let status = outcome.err().map(|error| error.status().as_u16());
    assert_eq!(status, Some(401), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_who_was_disabled_meanwhile_changes_no_account() {
    on_both(|world| async move {
        let (eve, lea) = (world.user("Eve", true).await, world.person("Lea").await);
        world.user("Ada", true).await;
        let (accounts, (_, key_id)) = (accounts(&world), key(&world, &["relay:*"]).await);
        let grant = || Grant { societe: "rsp-bgs".into(), access: "write".into() };
        accounts.set_grant(&tester(), &lea.id, grant()).await.unwrap();
        let late = Actor::caller(world.running.app().auth(), &principal(&world, &eve).await, None);
        disable(&accounts, &eve).await;

        let backdoor = NewUser {
            email: "backdoor@relais.fr".into(),
            password: "correct horse battery".into(),
            admin: true,
            ..NewUser::default()
        };
        refused("a user", accounts.create_user(&late, backdoor).await);
        let password = UserChanges { password: Some("another password".into()), ..UserChanges::default() };
        refused("a password", accounts.update_user(&late, &lea.id, password).await);
        let enabled = UserChanges { disabled: Some(false), ..UserChanges::default() };
        refused("oneself", accounts.update_user(&late, &eve.id, enabled).await);
        refused("a grant", accounts.set_grant(&late, &lea.id, grant()).await);
        refused("no grant", accounts.remove_grant(&late, &lea.id, "rsp-bgs").await);
        refused("a key", accounts.create_key(&late, "mine", &["admin:*".to_owned()], None).await);
        refused("no key", accounts.revoke_key(&late, &key_id).await);
        refused("a token", accounts.issue_token(&late, &lea.id, None).await);

        assert_eq!(accounts.list_users(String::new(), 10).await.unwrap().len(), 3);
        assert_eq!(accounts.list_keys(String::new(), 10).await.unwrap().len(), 1);
        assert_eq!(accounts.list_grants(&lea.id).await.unwrap(), [grant()]);
        assert!(accounts.find_user(&eve.id).await.unwrap().disabled);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_modules_nor_commands_obey_whom_the_rights_ended() {
    on_both(|world| async move {
        let eve = world.user("Eve", true).await;
        world.user("Ada", true).await;
        let live = world.running.app().service::<Live>();
        let (modules, commands) = (live.modules(), live.commands());
        let new = |id: &str| NewModule { id: id.into(), ..NewModule::default() };
        let added = modules.add(&tester(), new(STATION)).await.unwrap();
        let ring = || NewCommand { command: "ring".into(), ..NewCommand::default() };
        let given = commands.give(&Visibility::All, &tester(), STATION, ring()).await.unwrap();
        let her = principal(&world, &eve).await;
        let late = Actor::caller(world.running.app().auth(), &her, None);
        disable(&accounts(&world), &eve).await;

        let all = Visibility::All;
        refused("a module", modules.add(&late, new("MC-1002-STN")).await);
        let renamed = ModuleChanges { name: Some("mine".into()), kind: None };
        refused("a name", modules.change(&all, &late, STATION, renamed).await);
        refused("a credential", modules.rotate(&all, &late, STATION, None).await);
        refused("a code", modules.offer(&all, &late, STATION).await);
        let claim = NewClaim { code: added.claim_code.unwrap(), ..NewClaim::default() };
        refused("a claim", modules.claim(her.user().unwrap(), &late, claim).await);
        refused("a module back", modules.give_back(&all, &late, STATION).await);
        refused("no module", modules.remove(&all, &late, STATION).await);
        refused("a command", commands.give(&all, &late, STATION, ring()).await);
        refused("no command", commands.cancel(&all, &late, STATION, &given.id).await);
        assert_eq!(modules.list(&all, "", 10).await.unwrap().len(), 1);
        assert_eq!(commands.list(&all, STATION, None, "", 10).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_or_published_by_whom_the_rights_ended() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let conversation = world.befriend(&lea, &paul).await;
        let sent = world.send(&lea, &conversation, "before").await;
        let (app, message) = (world.running.app(), sent["id"].as_str().unwrap());
        let chat = app.service::<Chat>();
        let me = chat.enter(&principal(&world, &lea).await).await.unwrap();
        let (program, key_id) = key(&world, &["events:publish:flow:*"]).await;
        let program = principal(&world, &program).await;
        let before = app.store().head();
        disable(&accounts(&world), &lea).await;
        accounts(&world).revoke_key(&tester(), &key_id).await.unwrap();
        let between = app.store().head();

        let new = NewMessage { content: "after".into(), ..NewMessage::default() };
        refused("a message", chat.send(&me, &conversation, new).await);
        refused("an edit", chat.edit(&me, message, "after", None).await);
        refused("a deletion", chat.delete(&me, message).await);
        refused("an invitation", chat.invite(&me, &paul.id, "", None).await);
        let event: NewEvent =
            serde_json::from_str(&json!({ "topic": "flow:a", "name": "ran", "data": {} }).to_string())
                .unwrap();
        let publishing = app.service::<Publishing>();
        refused("an event", publishing.publish(&program, vec![event], None).await);
        assert!(before.seq < between.seq && app.store().head() == between, "nothing was told");
    })
    .await;
}
