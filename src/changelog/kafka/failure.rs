//! From librdkafka's errors to the room's: with the topic, and with what an operator can do. No value of a property is repeated.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::changelog::Error;

/// The change log failed for now, in what it was asked to do with a topic; what helps is in the text where there is something.
pub(super) fn storage(topic: &str, what: &str, error: &KafkaError) -> Error {
    let advice =
        error_code(error).and_then(|code| right_missing(code, topic)).map(|right| format!("; {right}")).unwrap_or_default();
    Error::Storage { path: format!("kafka topic {topic}"), reason: format!("{what}: {}{advice}", text(error)) }
}

/// The same where there is only a text.
pub(super) fn storage_text(topic: &str, reason: impl Into<String>) -> Error {
    Error::Storage { path: format!("kafka topic {topic}"), reason: reason.into() }
}

/// A client that cannot be made as it is configured.
pub(super) fn settings(error: &KafkaError) -> Error {
    Error::Settings { reason: text(error) }
}

/// An error's text.
pub(super) fn text(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, description, name, value) => {
            let description = if value.is_empty() { description.clone() } else { description.replace(value, "…") };
            format!("the property {name} is refused: {description}")
        }
        other => other.to_string(),
    }
}

/// The code of an error, wherever it keeps it.
pub(super) fn error_code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// Which right is missing where an error says that one is.
pub(super) fn right_missing(code: RDKafkaErrorCode, topic: &str) -> Option<String> {
    let right = match code {
        RDKafkaErrorCode::TopicAuthorizationFailed => {
            format!("allow binlake's user Read, Write, Describe, DescribeConfigs and Create on the topic {topic}")
        }
        RDKafkaErrorCode::GroupAuthorizationFailed => {
            "allow binlake's user Read on the groups that begin with `binlake.`".to_owned()
        }
        RDKafkaErrorCode::TransactionalIdAuthorizationFailed => {
            "allow binlake's user Write and Describe on the transactional ids that begin with `binlake.`".to_owned()
        }
        RDKafkaErrorCode::ClusterAuthorizationFailed => {
            "allow binlake's user IdempotentWrite on the cluster (brokers before 2.8), or Create to let it create topics"
                .to_owned()
        }
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
            "the brokers refuse the login: see `sasl.username` and `sasl.password` in `changelog.properties`".to_owned()
        }
        RDKafkaErrorCode::SSL => "the TLS handshake failed: see `ssl.ca.location` in `changelog.properties`".to_owned(),
        _ => return None,
    };
    Some(right)
}

/// Whether an error says that the topic, or the partition, is not there.
pub(super) fn is_unknown(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopicId
    )
}

/// Whether a later one of the same client has shut this one out.
pub(super) fn is_fenced(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_property_is_not_repeated() {
        for (name, value) in [("security.protocol", "geheim"), ("no.such.property", "geheim"), ("linger.ms", "geheim")] {
            let error = rdkafka::ClientConfig::new().set(name, value).create_native_config().err().unwrap();
            let text = text(&error);
            assert!(text.contains(name) && !text.contains("geheim"), "{text}");
        }
    }
}
