//! What `check` says of real topics.

use super::*;
use crate::change::Weight;

/// What is said of a topic that was made with these settings, without what is fine.
async fn complaints(topic_config: &[(&str, &str)]) -> Vec<(Weight, String)> {
    let (log, topic) = log_with(|settings| KafkaSettings { topic_config: config(topic_config), ..settings }).await;
    said(&log, &topic).await
}

async fn said(log: &KafkaLog, topic: &str) -> Vec<(Weight, String)> {
    let remarks = log.check_topic(topic).await;
    assert!(remarks.iter().all(|remark| remark.subject == topic && (remark.weight == Weight::Fine || remark.remedy.is_some())));
    let one_replica = |text: &str| text.contains("one replica");
    let complaints = remarks.into_iter().filter(|remark| remark.weight > Weight::Fine && !one_replica(&remark.message));
    complaints.map(|remark| (remark.weight, remark.message)).collect()
}

fn is(complaints: &[(Weight, String)], weight: Weight, text: &str) {
    assert!(matches!(complaints, [(found, message)] if *found == weight && message.contains(text)), "{text}: {complaints:?}");
}

#[tokio::test]
async fn each_setting_that_loses_changes_is_named() {
    assert_eq!(complaints(&[]).await, []);
    is(&complaints(&[("min.insync.replicas", "2")]).await, Weight::Wrong, "nothing can be written");
    is(&complaints(&[("retention.ms", "3600000")]).await, Weight::Risk, "less than a day");
    is(&complaints(&[("retention.bytes", "1000000")]).await, Weight::Risk, "retention.bytes is 1000000");
    is(&complaints(&[("max.message.bytes", "1000")]).await, Weight::Risk, "max.message.bytes is 1000");
    is(&complaints(&[("unclean.leader.election.enable", "true")]).await, Weight::Risk, "unclean");
    let compacted = complaints(&[("cleanup.policy", "compact")]).await;
    assert!(compacted[0].0 == Weight::Wrong && compacted[0].1.contains("it is compacted"), "{compacted:?}");
    let late = [("cleanup.policy", "compact"), ("min.compaction.lag.ms", "604800000")];
    is(&complaints(&late).await, Weight::Risk, "keeps a deleted row");
}

#[tokio::test]
async fn other_partitions_and_records_of_others_are_named() {
    let (log, topic) = log_with(|settings| KafkaSettings { partitions: 3, ..settings }).await;
    let single = KafkaLog::open(settings(Brokers::shared())).unwrap();
    is(&said(&single, &topic).await, Weight::Risk, "it has 3 partitions");
    log.append(vec![Feed::new(&topic, 0).batch(1, 1, 20)]).await.unwrap();
    assert_eq!(said(&log, &topic).await, []);
    put_foreign(&topic, "x", None);
    is(&said(&log, &topic).await, Weight::Wrong, "the record of somebody else, at offset 1");
}

#[tokio::test]
async fn whether_a_topic_can_be_created_is_asked_and_not_tried() {
    let log = |change: fn(&mut KafkaSettings)| {
        let mut settings = settings(Brokers::shared());
        change(&mut settings);
        KafkaLog::open(settings).unwrap()
    };
    let topic = fresh_topic();
    let good = log(|_| {});
    assert_eq!(said(&good, &topic).await, []);
    assert!(good.topics.partitions(&topic).await.is_err(), "it was only asked for");
    is(&said(&log(|settings| settings.replication = Some(3)), &topic).await, Weight::Wrong, "InvalidReplicationFactor");
    let bad = log(|settings| settings.topic_config = config(&[("retention.ms", "long")]));
    is(&said(&bad, &topic).await, Weight::Wrong, "cannot be created");
    let away = KafkaLog::open(KafkaSettings { brokers: vec!["127.0.0.1:1".to_owned()], ..KafkaSettings::default() }).unwrap();
    let remark = away.check_brokers().await;
    assert!(remark.weight == Weight::Wrong && remark.message.contains("do not answer"), "{remark:?}");
}
