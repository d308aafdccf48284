//! Logins, certificates and rights, on brokers that ask for them.

use std::path::Path;
use std::process::{Command, Stdio};

use super::*;
use crate::change::Weight;

const STORE_PASSWORD: &str = "store-geheim";

fn keytool(directory: &Path, arguments: &[&str]) {
    let mut command = Command::new("keytool");
    command.current_dir(directory).args(arguments).args(["-storetype", "PKCS12", "-storepass", STORE_PASSWORD]);
    assert!(command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success(), "keytool {arguments:?}");
}

/// Keys and certificates: `NAME.p12` and `NAME.pem` of the broker and of a client, each its own authority, and what the broker trusts.
fn certificates() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in ["broker", "client"] {
        let (subject, store, file) = (format!("CN={name}"), format!("{name}.p12"), format!("{name}.pem"));
        let key =
            ["-genkeypair", "-alias", name, "-keyalg", "EC", "-dname", &subject, "-ext", "SAN=ip:127.0.0.1", "-keystore", &store];
        keytool(directory.path(), &key);
        keytool(directory.path(), &["-exportcert", "-rfc", "-alias", name, "-file", &file, "-keystore", &store]);
    }
    for name in ["broker", "client"] {
        let file = format!("{name}.pem");
        keytool(directory.path(), &["-importcert", "-noprompt", "-alias", name, "-file", &file, "-keystore", "trusted.p12"]);
    }
    directory
}

fn broker(certificates: &Path, protocol: &str, more: &[&str]) -> Brokers {
    let (store, trusted) = (certificates.join("broker.p12"), certificates.join("trusted.p12"));
    let mut settings = vec![
        format!("listeners={protocol}://127.0.0.1:@PORT@,CONTROLLER://127.0.0.1:@CONTROLLER@"),
        format!("inter.broker.listener.name={protocol}"),
        format!("ssl.keystore.location={}", store.display()),
        format!("ssl.keystore.password={STORE_PASSWORD}"),
        "ssl.keystore.type=PKCS12".to_owned(),
        format!("ssl.truststore.location={}", trusted.display()),
        format!("ssl.truststore.password={STORE_PASSWORD}"),
        "ssl.truststore.type=PKCS12".to_owned(),
    ];
    settings.extend(more.iter().map(|text| (*text).to_owned()));
    Brokers::start(1, &settings.iter().map(String::as_str).collect::<Vec<_>>())
}

fn with(brokers: &Brokers, properties: &[(&str, &str)]) -> KafkaSettings {
    KafkaSettings { properties: Properties(config(properties)), ..settings(brokers) }
}

async fn works(settings: KafkaSettings) {
    let log = KafkaLog::open(settings).unwrap();
    let topic = fresh_topic();
    log.open_topic(&topic, Term(1)).await.unwrap();
    log.append(vec![Feed::new(&topic, 0).batch(1, 3, 20)]).await.unwrap();
    assert_eq!(all(&log, &topic, 0).await.unwrap().len(), 3);
}

#[tokio::test]
async fn sasl_over_tls_and_what_is_said_when_a_login_or_a_right_is_missing() {
    let certificates = certificates();
    let brokers = broker(
        certificates.path(),
        "SASL_SSL",
        &[
            "sasl.enabled.mechanisms=PLAIN",
            "sasl.mechanism.inter.broker.protocol=PLAIN",
            "listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username=\"admin\" \
             password=\"geheim-1\" user_admin=\"geheim-1\" user_poor=\"geheim-2\";",
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users=User:ANONYMOUS;User:admin",
        ],
    );
    let ca = certificates.path().join("broker.pem").display().to_string();
    let login = |user: &'static str, password: &'static str| {
        let tls = [("security.protocol", "SASL_SSL"), ("ssl.ca.location", ca.as_str()), ("sasl.mechanisms", "PLAIN")];
        with(&brokers, &[&tls[..], &[("sasl.username", user), ("sasl.password", password)]].concat())
    };
    works(login("admin", "geheim-1")).await;
    works(KafkaSettings { transactions: true, ..login("admin", "geheim-1") }).await;

    let log = KafkaLog::open(login("admin", "geheim-x")).unwrap();
    let remark = log.check_brokers().await;
    assert!(remark.weight == Weight::Wrong && remark.remedy.is_some(), "{remark:?}");

    let log = KafkaLog::open(login("poor", "geheim-2")).unwrap();
    assert_eq!(log.check_brokers().await.weight, Weight::Fine);
    let topic = fresh_topic();
    let remarks = log.check_topic(&topic).await;
    let said = format!("{remarks:?}");
    assert!(remarks[0].weight == Weight::Wrong && said.contains("Create on the topic"), "{said}");
    let error = log.open_topic(&topic, Term(1)).await.unwrap_err();
    assert!(error.to_string().contains("allow binlake's user"), "{error}");
    assert!(!format!("{:?}{said}{error}{error:?}", log.settings).contains("geheim"));
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let certificates = certificates();
    let brokers = broker(certificates.path(), "SSL", &["ssl.client.auth=required"]);
    let (ca, store) = (certificates.path().join("broker.pem"), certificates.path().join("client.p12"));
    let (ca, store) = (ca.display().to_string(), store.display().to_string());
    let without = [("security.protocol", "SSL"), ("ssl.ca.location", ca.as_str())];
    let shown = [("ssl.keystore.location", store.as_str()), ("ssl.keystore.password", STORE_PASSWORD)];
    works(with(&brokers, &[&without[..], &shown].concat())).await;
    let remark = KafkaLog::open(with(&brokers, &without)).unwrap().check_brokers().await;
    assert_eq!(remark.weight, Weight::Wrong, "{remark:?}");
}
