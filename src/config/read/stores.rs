//! Where the lake lies, and what its store's client is told: `lake.url` and `lake.options`.
//!
//! The names are those of the `object_store` crate, with its aliases; they are listed here so that a wrong one is found with all
//! other mistakes. A test of the binary, which sees both rooms, holds this list against the client.

use std::collections::BTreeMap;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::hadoop;
use crate::config::cursor::{Fields, Reader};
use crate::config::secret::Secret;
use crate::config::settings::Property;
use crate::config::suggest::nearest;
use crate::config::tree::{Entry, Kind, Node};

/// What `lake.url` names.
pub(super) struct Place {
    pub(super) url: String,
    pub(super) directory: Option<PathBuf>,
    pub(super) options: BTreeMap<String, Property>,
}

/// What an option holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Text,
    Flag,
    Number,
    /// `30s`, `5 minutes`.
    Duration,
    /// A file, beside this one where it is relative.
    File,
    Secret,
    /// `lake.url` says it.
    Place,
    /// Only as binlake needs it.
    Owned,
}

use Value::{Duration, File, Flag, Number, Owned, Text};

/// A kind of store: its scheme, the prefix that its options may have, and their names without it.
struct Store {
    scheme: &'static str,
    prefix: &'static str,
    options: &'static [(&'static str, Value)],
}

/// Options of every store.
const CLIENT: &[(&str, Value)] = &[
    ("allow_http", Flag),
    ("allow_invalid_certificates", Flag),
    ("connect_timeout", Duration),
    ("default_content_type", Text),
    ("disable_system_certificates", Flag),
    ("http1_only", Flag),
    ("http2_only", Flag),
    ("http2_keep_alive_interval", Duration),
    ("http2_keep_alive_timeout", Duration),
    ("http2_keep_alive_while_idle", Flag),
    ("http2_max_frame_size", Number),
    ("pool_idle_timeout", Duration),
    ("pool_max_idle_per_host", Number),
    ("proxy_ca_certificate", Text),
    ("proxy_excludes", Text),
    ("proxy_url", Value::Secret),
    ("randomize_addresses", Flag),
    ("read_timeout", Duration),
    ("timeout", Duration),
    ("user_agent", Text),
];

const STORES: [Store; 3] = [
    Store {
        scheme: "s3",
        prefix: "aws_",
        options: &[
            ("access_key_id", Text),
            ("bucket", Value::Place),
            ("bucket_name", Value::Place),
            ("checksum_algorithm", Text),
            ("conditional_put", Owned),
            ("container_authorization_token_file", File),
            ("container_credentials_full_uri", Text),
            ("container_credentials_relative_uri", Text),
            ("copy_if_not_exists", Text),
            ("default_region", Text),
            ("disable_bulk_delete", Flag),
            ("disable_tagging", Flag),
            ("endpoint", Text),
            ("endpoint_url", Text),
            ("endpoint_url_sts", Text),
            ("imdsv1_fallback", Flag),
            ("metadata_endpoint", Text),
            ("region", Text),
            ("request_payer", Flag),
            ("role_arn", Text),
            ("role_session_name", Text),
            ("s3_express", Flag),
            ("secret_access_key", Value::Secret),
            ("server_side_encryption", Text),
            ("session_token", Value::Secret),
            ("skip_signature", Flag),
            ("sse_bucket_key_enabled", Flag),
            ("sse_customer_key_base64", Value::Secret),
            ("sse_kms_key_id", Text),
            ("token", Value::Secret),
            ("unsigned_payload", Flag),
            ("virtual_hosted_style_request", Flag),
            ("web_identity_token_file", File),
        ],
    },
    Store {
        scheme: "gs",
        prefix: "google_",
        options: &[
            ("application_credentials", File),
            ("base_url", Text),
            ("bearer_token", Value::Secret),
            ("bucket", Value::Place),
            ("bucket_name", Value::Place),
            ("service_account", File),
            ("service_account_key", Value::Secret),
            ("service_account_path", File),
            ("skip_signature", Flag),
        ],
    },
    Store {
        scheme: "az",
        prefix: "azure_",
        options: &[
            ("access_key", Value::Secret),
            ("account_key", Value::Secret),
            ("account_name", Text),
            ("authority_host", Text),
            ("authority_id", Text),
            ("bearer_token", Value::Secret),
            ("client_id", Text),
            ("client_secret", Value::Secret),
            ("container_name", Value::Place),
            ("credential_type", Text),
            ("disable_tagging", Flag),
            ("encryption_key", Value::Secret),
            ("endpoint", Text),
            ("fabric_cluster_identifier", Text),
            ("fabric_session_token", Value::Secret),
            ("fabric_token_service_url", Text),
            ("fabric_workload_host", Text),
            ("federated_token_file", File),
            ("identity_endpoint", Text),
            ("master_key", Value::Secret),
            ("msi_endpoint", Text),
            ("msi_resource_id", Text),
            ("object_id", Text),
            ("sas_key", Value::Secret),
            ("sas_token", Value::Secret),
            ("skip_signature", Flag),
            ("tenant_id", Text),
            ("token", Value::Secret),
            ("use_azure_cli", Flag),
            ("use_emulator", Flag),
            ("use_fabric_endpoint", Flag),
        ],
    },
];

/// Every option that the stores of a scheme have, under the names that are listed.
pub fn store_options(scheme: &str) -> Vec<&'static str> {
    let store = STORES.iter().find(|store| store.scheme == scheme);
    store.map(|store| store.options.iter().chain(CLIENT).map(|(name, _)| *name).collect()).unwrap_or_default()
}

pub(super) fn place(reader: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<Place> {
    let form = "write file:///absolute/path, file:relative/path (to this file), s3://bucket/prefix, gs://…, az://container/… or hdfs://namenode:port/path";
    let options = fields.take("options");
    let Some(node) = fields.take("url") else {
        reader.error(&fields.place_of("url"), "it is missing", form);
        return None;
    };
    let text = reader.text(node)?;
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    if let Some(store) = STORES.iter().find(|store| store.scheme == scheme) {
        let url = bucket(reader, node, &text);
        let options = options.map_or_else(|| Some(BTreeMap::new()), |node| all_options(reader, node, store));
        return Some(Place { url: url?, directory: None, options: options? });
    }
    if scheme == "hdfs" {
        let place = hadoop::place(reader, node, options, &text);
        return place.map(|options| Place { url: text.trim_end_matches('/').to_owned(), directory: None, options });
    }
    if let Some((_, instead)) = OTHERS.iter().find(|(other, _)| *other == scheme) {
        reader.error(&node.place, format!("{scheme}:// is not built yet in this version"), *instead);
        return None;
    }
    if options.is_some() {
        let place = fields.place_of("options");
        reader.error(&place, "these are for object stores, and the lake is on files", "remove them");
    }
    let path = text.strip_prefix("file://").or_else(|| text.strip_prefix("file:"));
    let path = path.filter(|path| !path.is_empty() && !path.starts_with("//") && !path.contains(['?', '#']));
    let decoded = path.and_then(|path| percent_decode_str(path).decode_utf8().ok());
    let directory = decoded.map(|path| reader.directory.join(path.as_ref()));
    let url = directory.as_ref().and_then(|directory| url::Url::from_file_path(directory).ok());
    match (url, directory) {
        (Some(url), Some(directory)) => Some(Place { url: url.into(), directory: Some(directory), options: BTreeMap::new() }),
        _ => {
            reader.error(&node.place, "this is no place for a lake", form);
            None
        }
    }
}

/// Schemes that people write and that are refused, with what to write.
const OTHERS: [(&str, &str); 4] = [
    ("s3a", "use s3://: engines that want s3a:// read the same place"),
    ("s3n", "use s3://"),
    ("abfs", "use az://container/prefix and `options: {account_name: …}`"),
    ("abfss", "use az://container/prefix and `options: {account_name: …}`"),
];

/// The URL of a place in a bucket, without what it must not have.
fn bucket(reader: &mut Reader<'_>, node: &Node, text: &str) -> Option<String> {
    let parsed = url::Url::parse(text).ok().filter(|url| url.host_str().is_some_and(|host| !host.is_empty()));
    let Some(url) = parsed else {
        reader.error(&node.place, "no bucket is named", "write s3://bucket/prefix, gs://bucket/prefix or az://container/prefix");
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        reader.error(&node.place, "credentials do not belong into the URL", "put them into `options`, or into the environment");
        return None;
    }
    if url.port().is_some() {
        reader.error(&node.place, "a bucket has no port", "name the server in `options: {endpoint: …}`");
        return None;
    }
    if url.query().is_some() || url.fragment().is_some() {
        reader.error(&node.place, "a bucket's URL ends with a path", "remove what begins with `?` or `#`");
        return None;
    }
    Some(text.trim_end_matches('/').to_owned())
}

fn all_options(reader: &mut Reader<'_>, node: &Node, store: &Store) -> Option<BTreeMap<String, Property>> {
    let Kind::Map(entries) = &node.kind else {
        let message = format!("expected a map of names and values, found {}", node.describe());
        reader.error(&node.place, message, "write {name: value}");
        return None;
    };
    let read: Vec<_> = entries.iter().map(|entry| option(reader, entry, store)).collect();
    let options: Option<BTreeMap<String, Property>> = read.into_iter().collect();
    let options = options?;
    let given = |names: &[&str]| names.iter().find_map(|name| options.get(*name));
    let endpoint = given(&["endpoint", "endpoint_url", "base_url"]);
    let plain = endpoint.is_some_and(|endpoint| endpoint.reveal().starts_with("http://"));
    if plain && !options.contains_key("allow_http") {
        reader.error(
            &node.place,
            "the endpoint is http://, which sends everything in plain text",
            "use https://, or add `allow_http: true`",
        );
        return None;
    }
    Some(options)
}

fn option(reader: &mut Reader<'_>, entry: &Entry, store: &Store) -> Option<(String, Property)> {
    let bare = entry.key.strip_prefix(store.prefix).unwrap_or(&entry.key);
    let bare = bare.strip_prefix("storage_").filter(|_| store.scheme == "az").unwrap_or(bare);
    let known = || store.options.iter().chain(CLIENT);
    let Some((name, kind)) = known().find(|(name, _)| *name == bare) else {
        let remedy = match nearest(bare, known().map(|(name, _)| *name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "see docs/stores.md for their names".to_owned(),
        };
        reader.error(&entry.place, format!("{}:// has no such option", store.scheme), remedy);
        return None;
    };
    match kind {
        Value::Place => {
            reader.error(&entry.place, "`lake.url` names it", "remove it");
            return None;
        }
        Value::Owned => {
            reader.error(&entry.place, "this option is binlake's own: a commit is a put-if-absent", "remove it");
            return None;
        }
        Text | Flag | Number | Duration | File | Value::Secret => {}
    }
    let text = reader.text(&entry.value)?;
    let written = reader.written(&entry.value)?;
    let fits = match kind {
        Flag => matches!(text.as_str(), "true" | "false"),
        Number => text.parse::<u32>().is_ok(),
        Duration => crate::config::units::duration(&text).is_ok(),
        _ => !text.is_empty(),
    };
    if !fits {
        let wanted = match kind {
            Flag => "true or false",
            Number => "a whole number",
            Duration => "a duration such as 30s or 5m",
            _ => "a text",
        };
        reader.error(&entry.place, format!("{written:?} does not fit"), format!("give {wanted}"));
        return None;
    }
    let text = if *kind == File { reader.directory.join(text).display().to_string() } else { text };
    let secret = *kind == Value::Secret || written.contains("${");
    Some(((*name).to_owned(), if secret { Property::Secret(Secret::new(text)) } else { Property::Plain(text) }))
}
