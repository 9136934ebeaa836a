//! The API documents are made once and sent only to whoever has not got them.

use reqwest::{Client, StatusCode};

use super::World;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_document_is_told_that_it_is_the_same() {
    let world = World::alone(|_| {}).await;
    for path in ["/openapi.json", "/asyncapi.json"] {
        let url = format!("http://{}{path}", world.running.address());
        let first = Client::new().get(&url).send().await.unwrap();
        assert_eq!(first.headers()["content-type"], "application/json; charset=utf-8", "{path}");
        let tag = first.headers().get("etag").expect("a tag").clone();
        assert!(first.text().await.unwrap().starts_with('{'), "{path}");
        let again = Client::new().get(&url).header("if-none-match", tag).send().await.unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path}");
    }
}
