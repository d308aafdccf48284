//! Against real servers.

use super::super::contract::{holds, read_while_it_changes};
use super::*;

#[path = "../../../../tests/servers/metastore.rs"]
#[expect(dead_code, reason = "the end-to-end tests do more with it")]
mod server;

use server::{Server, Version};

fn address(port: u16) -> Address {
    Address { host: "127.0.0.1".to_owned(), port }
}

async fn keeps_the_contract(version: Version, compares: bool) {
    let server = Server::start(version);
    holds(ThriftMetastore::new(vec![address(server.port())]), compares).await;
}

#[tokio::test]
async fn version_2_3_keeps_the_contract() {
    keeps_the_contract(Version::Two, true).await;
}

#[tokio::test]
#[ignore = "long: a server that is fetched for this test alone"]
async fn version_3_1_keeps_the_contract_and_compares_nothing() {
    keeps_the_contract(Version::Three, false).await;
}

#[tokio::test]
async fn version_4_1_keeps_the_contract() {
    keeps_the_contract(Version::Four, true).await;
}

async fn is_read_while_it_changes(version: Version) {
    let server = Server::start(version);
    let client = || ThriftMetastore::new(vec![address(server.port())]);
    // As many as one likes; hundreds were tried.
    let changes = std::env::var("BINLAKE_CHANGES").map_or(15, |text| text.parse().unwrap());
    let seen = read_while_it_changes(client(), client(), changes).await;
    println!("{version:?}: {changes} changes, {seen:?}");
    // Whoever meets half a change fails, and may ask again.
    assert!(seen.tables > 10 && (seen.torn + seen.broken + seen.failed) * 4 < seen.lists, "{seen:?}");
}

#[tokio::test]
async fn version_2_3_shows_whole_tables_while_they_change() {
    is_read_while_it_changes(Version::Two).await;
}

#[tokio::test]
async fn version_4_1_shows_whole_tables_while_they_change() {
    is_read_while_it_changes(Version::Four).await;
}

#[tokio::test]
async fn an_address_where_nobody_answers_is_passed_over_and_all_of_them_are_named() {
    let nobody = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        address(listener.local_addr().unwrap().port())
    };
    let (one, other) = (nobody(), nobody());
    let metastore = ThriftMetastore::new(vec![one.clone(), other.clone()]);
    let Err(Error::Away { reason, .. }) = metastore.database("default").await else { panic!("somebody answers") };
    assert!(reason.contains(&one.to_string()) && reason.contains(&other.to_string()), "{reason}");
    let server = Server::start(Version::Four);
    let metastore = ThriftMetastore::new(vec![one, address(server.port())]);
    assert!(metastore.database("default").await.unwrap().is_some());
    server.kill();
    assert!(matches!(metastore.database("default").await, Err(Error::Away { .. })));
    server.start_again();
    // A connection of before may be broken: that costs one call, and no more.
    let answers = [metastore.database("default").await, metastore.database("default").await];
    assert!(answers.iter().any(|answer| matches!(answer, Ok(Some(_)))), "{answers:?}");
}
