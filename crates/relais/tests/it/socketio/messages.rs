//! What features hear in a namespace of somebody else.

use std::sync::Arc;

use relais::AppError;
use relais::feature::Message;
use relais::gateways::socketio::Messages;
use relais::said::Said;
use serde_json::json;

use super::world::World;

static ADD: Message = Message {
    name: "add",
    handle: |_, principal, data| {
        Box::pin(async move {
            let number = data["number"].as_i64();
            let number =
                number.ok_or_else(|| AppError::bad_request("invalid_value", Said::in_english("a number")))?;
            Ok(json!({ "sum": number + 1, "by": &*principal.id() }))
        })
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_a_feature_is_answered_and_all_others_are_the_hosts() {
    let server = crate::world::World::alone(|_| {}).await;
    let world = World::with_guest(Arc::new(Messages::new(server.running.app().clone(), [&ADD].into_iter())));
    let mut client = world.connect().await;
    client.join(&json!({ "user": "ann" })).await;
    client.say(r#"42/room,1["add",{"number":41}]"#).await;
    assert_eq!(client.next().await, r#"43/room,1[{"sum":42,"by":"user:ann","success":true}]"#);
    let refused = r#"{"success":false,"message":"a number","code":"invalid_value"}"#;
    client.say(r#"42/room,2["add",{}]"#).await;
    assert_eq!(client.next().await, format!("43/room,2[{refused}]"));
    client.say(r#"42/room,["add",{}]"#).await;
    assert_eq!(client.next().await, format!(r#"42/room,["error",{refused}]"#), "nobody waits for an answer");
    client.say(r#"42/room,3["whoami"]"#).await;
    assert_eq!(client.next().await, r#"43/room,3["user:ann"]"#);
}
