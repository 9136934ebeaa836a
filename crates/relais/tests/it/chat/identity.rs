//! Who somebody is: tokens of an existing backend, and tokens that are renewed.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use relais::features::accounts::{Accounts, Actor};
use relais_protocol::time::{Clock as _, SystemClock};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Person, World, on_both_in_time, on_both_with};

const SECRET: &str = "a-secret-that-a-backend-shares-with-us";

/// Somebody as a backend knows them.
fn of_backend(user_id: &str) -> Person {
    let now = SystemClock.now().as_secs();
    let claims = json!({ "user_id": user_id, "email": user_id, "iat": now, "exp": now + 600 });
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap();
    Person { id: user_id.to_owned(), token }
}

async fn me(world: &World, who: &Person) -> (u16, Value) {
    world.request(who, Method::GET, "/api/auth/me", Value::Null).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_knows_people_by_their_addresses_means_the_accounts_that_have_them() {
    on_both_with(
        |config| config.auth.jwt.secret = Some(SECRET.into()),
        |world| async move {
            let (lea, paul) = (world.person("Lea").await, world.user("Paul", true).await);
            let id = world.befriend(&lea, &paul).await;
            for address in ["lea@relais.fr", "Lea@Relais.FR", " lea@relais.fr "] {
                let (status, known) = me(&world, &of_backend(address)).await;
                assert_eq!((status, &known["user"]["id"]), (200, &json!(lea.id)), "{address}");
                assert_eq!(known["principal"], format!("user:{}", lea.id));
            }
            let by_address = of_backend("Paul@relais.fr");
            assert_eq!(me(&world, &by_address).await.1["user"]["admin"], true, "the table decides");
            assert_eq!(world.send(&by_address, &id, "bonjour").await["sender_id"], paul.id.as_str());
            let mut socket = world.open().await;
            socket.say(&json!({ "type": "authenticate", "token": by_address.token })).await;
            assert_eq!(socket.hear("authenticated").await["user_id"], paul.id.as_str());

            // Whoever has no account is one person however they are written, and may be asked by the address.
            let zoe = of_backend("Zoe@ailleurs.fr");
            assert_eq!(me(&world, &zoe).await.1["principal"], "user:zoe@ailleurs.fr");
            assert_eq!(
                me(&world, &of_backend("zoe@AILLEURS.fr")).await.1["principal"],
                "user:zoe@ailleurs.fr"
            );
            assert_eq!(world.get(&zoe, "conversations").await["conversations"], json!([]));
            world.post(&lea, "invitations", json!({ "to_user_id": "ZOE@ailleurs.fr" })).await;
            assert_eq!(
                world.get(&zoe, "invitations").await["invitations"][0]["from_user_id"],
                lea.id.as_str()
            );
            let (_, known) = world
                .call(&lea, Method::POST, "invitations", json!({ "to_user_id": "Paul@relais.fr" }))
                .await;
            assert_eq!(
                (&known["code"], &known["conversation_id"]),
                (&json!("already_in_conversation"), &json!(id))
            );
            let to_oneself = json!({ "to_user_id": "LEA@relais.fr" });
            assert_eq!(world.call(&lea, Method::POST, "invitations", to_oneself).await.0, 400);

            let path = format!("/api/v1/users/{}", lea.id);
            assert_eq!(world.request(&paul, Method::PATCH, &path, json!({ "disabled": true })).await.0, 200);
            for address in ["lea@relais.fr", "LEA@relais.fr"] {
                assert_eq!(me(&world, &of_backend(address)).await.0, 401, "{address} is disabled");
            }
        },
    )
    .await;
}

/// A token of somebody that ends in so many seconds.
async fn token(world: &World, who: &Person, ttl_s: u64) -> String {
    let accounts = Accounts::new(world.running.app().auth().clone());
    let actor = Actor::named("test", None);
    accounts.issue_token(&actor, &who.id, Some(ttl_s)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_prolongs_a_connection_and_a_shorter_one_does_not_cut_it() {
    on_both_in_time(|world, clock| async move {
        let lea = world.person("Lea").await;
        let short = Person { token: token(&world, &lea, 60).await, ..lea.clone() };
        let long = token(&world, &lea, 600).await;
        let (mut renewed, mut former) = (world.connect(&short).await, world.connect(&short).await);
        let mut native = world.open_native().await;
        for token in [&short.token, &long, &short.token] {
            for socket in [&mut renewed, &mut native] {
                socket.say(&json!({ "type": "authenticate", "token": token })).await;
                socket.hear("authenticated").await;
            }
        }
        clock.advance_ms(61_000);
        assert_eq!(former.next().await, Err(4001), "its token has ended");
        for socket in [&mut renewed, &mut native] {
            socket.say(&json!({ "type": "ping" })).await;
            socket.hear("pong").await;
        }
        clock.advance_ms(540_000);
        assert_eq!(renewed.next().await, Err(4001), "so has the longer one");
        assert_eq!(native.next().await, Err(4001));
    })
    .await;
}
