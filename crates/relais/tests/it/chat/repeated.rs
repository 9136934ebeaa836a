//! What is said again, and what is left unsaid.

use reqwest::Method;
use serde_json::{Value, json};

use super::on_both;

#[tokio::test(flavor = "multi_thread")]
async fn one_name_is_one_message_and_no_other() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        let path = format!("conversations/{id}/messages");
        let said = |content: &str| json!({ "content": content, "client_id": "a1", "mentions": [paul.id] });
        let first = world.post(&lea, &path, said("devis prêt")).await;
        let same = world.call(&lea, Method::POST, &path, said("devis prêt")).await;
        assert_eq!((same.0, &same.1["data"]["message"]["id"]), (200, &first["message"]["id"]));
        for other in [
            said("devis signé"),
            json!({ "content": "devis prêt", "client_id": "a1", "mentions": [lea.id] }),
            json!({ "content": "devis prêt", "client_id": "a1", "mentions": [paul.id], "attachments": ["f"] }),
        ] {
            let (status, refused) = world.call(&lea, Method::POST, &path, other).await;
            assert_eq!((status, &refused["code"]), (409, &json!("client_id_in_use")));
            assert_eq!(refused["message_id"], first["message"]["id"]);
        }
        let zoe = world.person("Zoe").await;
        let elsewhere = format!("conversations/{}/messages", world.befriend(&lea, &zoe).await);
        let (status, refused) = world.call(&lea, Method::POST, &elsewhere, said("devis prêt")).await;
        assert_eq!((status, &refused["code"]), (409, &json!("client_id_in_use")), "in another conversation");
        assert_eq!(refused["message_id"], first["message"]["id"]);
        let mut of_lea = world.connect(&lea).await;
        of_lea
            .say(&json!({ "type": "send_message", "conversation_id": id, "message": said("devis signé") }))
            .await;
        assert_eq!(of_lea.hear("error").await["code"], "client_id_in_use");

        // What became of the message since changes nothing about what was sent.
        let message = format!("messages/{}", first["message"]["id"].as_str().unwrap());
        world.put(&lea, &message, json!({ "content": "devis signé" })).await;
        assert_eq!(world.call(&lea, Method::POST, &path, said("devis prêt")).await.0, 200);
        assert_eq!(world.call(&lea, Method::POST, &path, said("devis signé")).await.0, 409);
        world.delete(&lea, &message).await;
        let (status, again) = world.call(&lea, Method::POST, &path, said("devis prêt")).await;
        assert_eq!((status, &again["data"]["message"]["content"]), (200, &json!("")), "it stays deleted");
        assert_eq!(world.get(&paul, &path).await["messages"].as_array().unwrap().len(), 1);
        assert_eq!(world.call(&paul, Method::POST, &path, said("le mien")).await.0, 201, "names are one's own");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_edit_does_not_mention_stays() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        let new = json!({ "content": "un", "mentions": [paul.id], "attachments": ["f1"] });
        let sent = world.post(&lea, &format!("conversations/{id}/messages"), new).await["message"].clone();
        let (message, of_message) =
            (sent["id"].clone(), format!("messages/{}", sent["id"].as_str().unwrap()));
        let (mut of_lea, paul_alone) = (world.connect(&lea).await, json!([paul.id]));
        for edit in [json!({ "content": "deux" }), json!({ "content": "trois", "mentions": null })] {
            let edited = world.put(&lea, &of_message, edit.clone()).await["message"].clone();
            assert_eq!(
                (&edited["mentions"], &edited["attachments"]),
                (&paul_alone, &json!(["f1"])),
                "{edit}"
            );
            let mut frame = edit;
            frame["type"] = "edit_message".into();
            frame["message_id"] = message.clone();
            of_lea.say(&frame).await;
            assert_eq!(of_lea.hear("message_edited").await["message"]["mentions"], paul_alone);
        }
        let emptied = json!({ "content": "quatre", "mentions": [] });
        assert_eq!(world.put(&lea, &of_message, emptied).await["message"]["mentions"], json!([]));
        let nulls = json!({ "content": "cinq", "mentions": null, "attachments": null, "client_id": null });
        let (status, _) =
            world.call(&lea, Method::POST, &format!("conversations/{id}/messages"), nulls).await;
        assert_eq!(status, 201);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_answer_again_leads_to_the_same_and_another_is_told_where_it_led() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let mut of_lea = world.connect(&lea).await;
        let asked =
            world.post(&lea, "invitations", json!({ "to_user_id": paul.id })).await["invitation_id"].clone();
        let path = format!("invitations/{}/respond", asked.as_str().unwrap());
        let (accept, reject) = (json!({ "action": "accept" }), json!({ "action": "reject" }));
        let first = world.put(&paul, &path, accept.clone()).await;
        let again = world.put(&paul, &path, accept.clone()).await;
        assert_eq!(again["conversation_id"], first["conversation_id"]);
        assert_eq!(again["conversation"]["participant"]["id"], lea.id.as_str());
        let heard = of_lea.heard().await;
        assert_eq!(
            heard.iter().filter(|frame| frame["type"] == "invitation_accepted").count(),
            1,
            "told once"
        );
        let (status, refused) = world.call(&paul, Method::PUT, &path, reject.clone()).await;
        assert_eq!(
            (status, &refused["code"], &refused["status"], &refused["conversation_id"]),
            (409, &json!("invitation_settled"), &json!("accepted"), &first["conversation_id"])
        );
        let cancel = format!("invitations/{}", asked.as_str().unwrap());
        let (status, refused) = world.call(&lea, Method::DELETE, &cancel, Value::Null).await;
        assert_eq!((status, &refused["conversation_id"]), (409, &first["conversation_id"]));
        let (_, known) =
            world.call(&lea, Method::POST, "invitations", json!({ "to_user_id": paul.id })).await;
        assert_eq!(known["conversation_id"], first["conversation_id"]);

        let zoe = world.person("Zoe").await;
        let asked =
            world.post(&lea, "invitations", json!({ "to_user_id": zoe.id })).await["invitation_id"].clone();
        let path = format!("invitations/{}/respond", asked.as_str().unwrap());
        let nothing = json!({ "conversation_id": null, "conversation": null });
        assert_eq!(world.put(&zoe, &path, reject.clone()).await, nothing);
        assert_eq!(world.put(&zoe, &path, reject).await, nothing);
        let (status, refused) = world.call(&zoe, Method::PUT, &path, accept).await;
        assert_eq!(
            (status, &refused["status"], &refused["conversation_id"]),
            (409, &json!("rejected"), &Value::Null)
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_left_the_group_since_is_told_which_it_was() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let made = world.post(&lea, "groups", json!({ "name": "Chantier", "member_ids": [paul.id] })).await;
        let (id, asked) = (made["group_id"].as_str().unwrap(), &made["invitations"][0]["id"]);
        let path = format!("group-invitations/{}/respond", asked.as_str().unwrap());
        let accept = json!({ "action": "accept" });
        world.put(&paul, &path, accept.clone()).await;
        assert_eq!(world.put(&paul, &path, accept.clone()).await["conversation_id"], id);
        let (status, known) = world
            .call(&lea, Method::POST, &format!("groups/{id}/invite"), json!({ "user_id": paul.id }))
            .await;
        assert_eq!(
            (status, &known["code"], &known["conversation_id"]),
            (409, &json!("already_member"), &json!(id))
        );
        world.post(&paul, &format!("groups/{id}/leave"), Value::Null).await;
        let (status, refused) = world.call(&paul, Method::PUT, &path, accept).await;
        assert_eq!((status, &refused["conversation_id"]), (409, &json!(id)), "it does not let him in again");
    })
    .await;
}
