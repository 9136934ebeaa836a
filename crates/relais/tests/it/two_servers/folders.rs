//! A database may be shared, a folder may not.

use relais::boot::{self, BootError};
use relais::config::Config;
use relais_testkit::TestDb;

use super::SECRET;
use crate::world::World;

/// Why a server with these settings does not start.
async fn refused(config: Config) -> String {
    match boot::start(config).await {
        Ok(_) => panic!("it started"),
        Err(error) => {
            assert!(matches!(error, BootError::InUse(_) | BootError::Feature(_)), "{error:?}");
            error.to_string()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_in_the_same_folder_is_refused_and_told_what_to_do() {
    let database = TestDb::postgres();
    let first = World::on(database.address(), SECRET).await;
    let config = first.config().clone();
    let told = refused(config.clone()).await;
    let folder = config.server.data.display().to_string();
    assert!(told.contains(&folder) && told.contains("--data or RELAIS_DATA"), "{told}");
    assert!(told.contains("in use by another server"), "{told}");

    // The plain files, too, have one server.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut other = config.clone();
    other.server.data = elsewhere.path().join("data");
    other.relay.files_dir = Some(config.relay_files_dir());
    let told = refused(other.clone()).await;
    let folder = config.relay_files_dir().display().to_string();
    assert!(told.contains(&folder) && told.contains("BASE_FILES_DIR"), "{told}");

    other.relay.files_dir = None;
    boot::start(other).await.unwrap().stop().await;
    // Nobody has the folder once its server is gone.
    let first = first.restart().await;
    first.running.stop().await;
    boot::start(config).await.unwrap().stop().await;
}
