//! Settings that work, and settings that cannot: one clear error each, with its remedy.

use std::path::{Path, PathBuf};

use crate::equality::assert_equal;
use crate::scene::{Ended, Scene};
use crate::server::{PASSWORD, Server, USER};

fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/end_to_end/certificates").join(name)
}

/// A database with one table of three rows.
async fn prepared(server: &Server, database: &str) -> Scene {
    server.create_database(database).await;
    server
        .execute(&[
            format!("CREATE TABLE {database}.one (id INT NOT NULL PRIMARY KEY, note VARCHAR(20) NULL)"),
            format!("INSERT INTO {database}.one VALUES (1,'a'),(2,NULL),(3,'c')"),
        ])
        .await;
    Scene::new(server, &[format!("{{table: {database}.one}}")])
}

/// Fails unless a command ended with `code` and its message has all of `words` in it, and the password nowhere.
fn assert_told(ended: &Ended, code: i32, words: &[&str]) {
    let text = ended.text();
    assert_eq!(ended.code, Some(code), "{text}");
    for word in words {
        assert!(text.to_lowercase().contains(&word.to_lowercase()), "{word:?} is not in: {text}");
    }
    assert!(!text.contains(PASSWORD), "the password is in: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_an_own_authority() {
    let options = [
        format!("--ssl-ca={}", certificate("authority.pem").display()),
        format!("--ssl-cert={}", certificate("server.pem").display()),
        format!("--ssl-key={}", certificate("server-key.pem").display()),
    ];
    let server = Server::start(&options.each_ref().map(String::as_str)).await;
    let mut scene = prepared(&server, "secured").await;
    server.execute(&[format!("ALTER USER '{USER}'@'%' REQUIRE SSL")]).await;
    let authority = certificate("authority.pem");
    for mode in ["verify_identity", "verify_ca", "required"] {
        let ca = if mode == "required" { String::new() } else { format!(", ca: {}", authority.display()) };
        scene.edit(|yaml| yaml.tls = format!("{{mode: {mode}{ca}}}"));
        scene.good(&["check"]);
    }
    scene.edit(|yaml| yaml.tls = format!("{{mode: verify_identity, ca: {}}}", authority.display()));
    scene.catch_up();
    assert_equal(&scene, &server, &["secured.one"]).await;

    scene.edit(|yaml| yaml.tls = format!("{{mode: verify_ca, ca: {}}}", certificate("other-authority.pem").display()));
    assert_told(&scene.run(&["check"]), 1, &["certificate", "tls", "ca"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_a_name_that_is_not_in_the_certificate() {
    // The certificate that a server makes for itself names no host.
    let server = Server::shared();
    let mut scene = prepared(server, "unnamed").await;
    scene.edit(|yaml| yaml.tls = format!("{{mode: verify_ca, ca: {}}}", server.authority().display()));
    scene.good(&["check"]);
    scene.edit(|yaml| yaml.tls = format!("{{mode: verify_identity, ca: {}}}", server.authority().display()));
    assert_told(&scene.run(&["check"]), 1, &["certificate", "verify_ca"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password() {
    let server = Server::shared();
    let scene = prepared(server, "locked_out").await;
    let mut command = scene.command(&["check"]);
    let output = command.env("E2E_PASSWORD", "not this").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let ended = Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) };
    assert_told(&ended, 1, &["access denied", "password"]);
    assert!(!ended.text().contains("not this"), "the password is in: {}", ended.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rights() {
    let server = Server::shared();
    let mut scene = prepared(server, "unrighteous").await;
    server.create_user("reader", "SELECT").await;
    server.create_user("streamer", "REPLICATION SLAVE, REPLICATION CLIENT").await;
    scene.edit(|yaml| yaml.user = "reader".to_owned());
    assert_told(&scene.run(&["check"]), 1, &["GRANT", "REPLICATION SLAVE", "REPLICATION CLIENT"]);
    scene.edit(|yaml| yaml.user = "streamer".to_owned());
    assert_told(&scene.run(&["check"]), 1, &["GRANT", "SELECT"]);
    scene.edit(|yaml| yaml.user = USER.to_owned());
    scene.good(&["check"]);
}

/// `check --offline` and `run` say no to a YAML with `tables` and `more`, each with all of `words`.
fn assert_refused(scene: &mut Scene, tables: &[&str], more: &str, words: &[&str]) {
    scene.edit(|yaml| {
        yaml.tables = tables.iter().map(|table| (*table).to_owned()).collect();
        yaml.more = more.to_owned();
    });
    assert_told(&scene.run(&["check", "--offline"]), 1, words);
    assert_told(&scene.run(&["run", "--until-caught-up"]), 1, words);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yaml_that_is_wrong_in_itself() {
    let server = Server::shared();
    let mut scene = prepared(server, "misspelt").await;
    let one = "{table: misspelt.one}";
    assert_refused(&mut scene, &[one], "memroy: 1GiB\n", &["memroy", "memory", "binlake.yaml"]);
    assert_refused(&mut scene, &["{table: misspelt.one, mod: mirror}"], "", &["mod", "mode", "binlake.yaml"]);
    assert_refused(
        &mut scene,
        &["{table: \"/misspelt\\\\.(one/\"}"],
        "",
        &["regular expression", "unclosed group", "binlake.yaml"],
    );
    assert_refused(&mut scene, &[one], "memory: a lot\n", &["a lot", "memory"]);
    assert_refused(&mut scene, &["{table: misspelt.one, mode: copy}"], "", &["copy", "mirror", "changelog", "both"]);
    // All of them in one go.
    assert_refused(&mut scene, &["{table: misspelt.one, mod: mirror}"], "memroy: 1GiB\n", &["mod", "memroy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yaml_that_does_not_fit_the_server() {
    let server = Server::shared();
    let mut scene = prepared(server, "unfit").await;
    server
        .execute(&[
            "CREATE TABLE unfit.keyless (a INT)",
            "CREATE DATABASE unfit_other CHARACTER SET utf8mb4",
            "CREATE TABLE unfit_other.one (id INT NOT NULL PRIMARY KEY)",
        ])
        .await;
    let check = |scene: &mut Scene, tables: &[&str]| {
        scene.edit(|yaml| yaml.tables = tables.iter().map(|table| (*table).to_owned()).collect());
        scene.run(&["check"])
    };
    assert_told(&check(&mut scene, &["{table: unfit.keyless}"]), 1, &["unfit.keyless", "key", "changelog"]);
    assert_told(&check(&mut scene, &["{table: unfit.missing}"]), 1, &["unfit.missing"]);
    assert_told(&check(&mut scene, &["{table: unfit.one, key: [nothing]}"]), 1, &["nothing", "unfit.one"]);

    // Two tables into one name.
    scene.edit(|yaml| yaml.lake = "  database: ods\n".to_owned());
    assert_told(
        &check(&mut scene, &["{table: unfit.one}", "{table: unfit_other.one}"]),
        1,
        &["unfit.one", "unfit_other.one", "ods"],
    );
    scene.edit(|yaml| yaml.lake.clear());

    // What a pattern brings and cannot be kept parks by itself; the others go on.
    scene.edit(|yaml| yaml.tables = vec!["{table: unfit.*}".to_owned()]);
    let ended = scene.catch_up_badly();
    assert_told(&ended, 1, &["unfit.keyless"]);
    assert_eq!(scene.status().phase("unfit.one"), "live");
    assert!(scene.status().parked("unfit.keyless").is_some_and(|reason| reason.contains("key")));
    assert_equal(&scene, server, &["unfit.one"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_built_is_refused_by_name() {
    let server = Server::shared();
    let scene = prepared(server, "unbuilt").await;
    let path = scene.config();
    let good = std::fs::read_to_string(&path).unwrap();
    let replacements = [
        #[cfg(not(feature = "hdfs"))]
        ("url: file://", "url: hdfs://namenode:8020/", "build with --features hdfs"),
        ("sqlite:state/binlake.db", "postgres://127.0.0.1/binlake", "postgres"),
    ];
    for (from, to, word) in replacements {
        assert!(good.contains(from), "{from}");
        std::fs::write(&path, good.replace(from, to)).unwrap();
        assert_told(&scene.run(&["check", "--offline"]), 1, &[word]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cascades_that_are_in_no_binlog() {
    let server = Server::start(&["--innodb-native-foreign-keys=ON"]).await;
    let mut scene = prepared(&server, "cascading").await;
    server
        .execute(&[
            "CREATE TABLE cascading.child (id INT NOT NULL PRIMARY KEY, one INT NULL, \
             FOREIGN KEY (one) REFERENCES cascading.one (id) ON DELETE CASCADE)",
            "INSERT INTO cascading.child VALUES (1,1),(2,2)",
        ])
        .await;
    scene.edit(|yaml| yaml.tables = vec!["{table: cascading.*}".to_owned()]);
    assert_told(&scene.run(&["check"]), 1, &["cascading.child", "cascade", "accept"]);
    assert_told(&scene.catch_up_badly(), 1, &["cascading.child"]);
    assert!(scene.status().parked("cascading.child").is_some_and(|reason| reason.to_lowercase().contains("cascade")));
    assert_eq!(scene.status().phase("cascading.one"), "live");

    scene.edit(|yaml| yaml.tables = vec!["{table: cascading.*, cascades: accept}".to_owned()]);
    scene.good(&["check"]);
    scene.catch_up();
    assert_equal(&scene, &server, &["cascading.one", "cascading.child"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discover_prints_a_file_that_check_accepts() {
    let server = Server::shared();
    let scene = prepared(server, "discovered").await;
    let url = format!("mysql://{USER}:${{E2E_PASSWORD}}@127.0.0.1:{}", server.port());
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_binlake"))
        .args(["discover", &url])
        .env("E2E_PASSWORD", PASSWORD)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("GRANT") && text.contains("CREATE USER") && text.contains("discovered"), "{text}");
    assert!(!text.contains(PASSWORD), "the password is in the file");
    std::fs::write(scene.config(), text).unwrap();
    scene.good(&["check", "--offline"]);
}
