//! Where a lake lies: from its URL and options to an object store.
//!
//! | URL | store |
//! |---|---|
//! | `file:///absolute/path` | local files |
//! | `s3://bucket/prefix` | S3, and whatever speaks it |
//! | `gs://bucket/prefix` | Google Cloud Storage |
//! | `az://container/prefix` | Azure Blob Storage |
//! | `hdfs://namenode:port/path`, `hdfs://nameservice/path` | HDFS, where it was built in |
//!
//! What the options do not say comes from the environment (`AWS_…`, `GOOGLE_…`, `AZURE_…`), credentials above all; for HDFS from
//! Hadoop's own files (`HADOOP_CONF_DIR`). A call is tried
//! again by the client while that is safe and for a bounded time; what is unknown in the end, [`super::log`] settles.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};
use url::Url;

use super::remote::Remote;
use super::store::{Directories, sync_directory};
use super::{Error, Result};

/// How long a connection may take to be made, and a whole request, where the options do not say.
const CONNECTION_LIMIT: &str = "5s";
const REQUEST_LIMIT: &str = "30s";

/// The client begins no further try of one call after so long, or so many.
const RETRY_LIMIT: Duration = Duration::from_secs(30);
const RETRIES: usize = 5;

/// Options of the object store, by the names that the store's client knows them by. Their values are not shown: some are secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StoreOptions(pub BTreeMap<String, String>);

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.keys().map(|name| (name, "***"))).finish()
    }
}

/// An opened place.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// The directory, where the lake lies on this machine.
    pub(super) local: Option<PathBuf>,
    /// Where directories are real and not on this machine.
    pub(super) directories: Option<Arc<dyn Directories>>,
    /// What stands before an object's path in its URL, where it does not.
    pub(super) root: String,
    /// Directories that opening it made, deepest first.
    pub(super) made: Vec<PathBuf>,
}

/// Opens the place of a lake; a directory is made, a bucket is not.
pub(super) fn open(url: &str, options: &StoreOptions) -> Result<Place> {
    let no_place =
        || unsuitable(url, "this is no place for a lake", "name file:///absolute/path, s3://, gs://, az:// or hdfs://");
    let parsed = Url::parse(url).map_err(|_| no_place())?;
    if parsed.scheme() == "file" {
        return local(url, &parsed);
    }
    if parsed.scheme() == "hdfs" {
        return hdfs(url, &parsed, options);
    }
    let (Some(bucket), Ok(prefix)) = (parsed.host_str(), Path::from_url_path(parsed.path())) else { return Err(no_place()) };
    // Two crates may each bring another one into the process, and then none would be the default.
    drop(tokio_rustls::rustls::crypto::ring::default_provider().install_default());
    let named = format!("{}://{bucket}", parsed.scheme());
    let opened = match parsed.scheme() {
        "s3" => s3(&named, options),
        "gs" => google(&named, options),
        "az" => azure(&named, options),
        _ => return Err(no_place()),
    };
    let objects = opened.map_err(|error| {
        let said = options.hidden(&error.to_string());
        unsuitable(
            url,
            &format!("the store cannot be opened: {said}"),
            "look at `lake.options` and the store's variables in the environment",
        )
    })?;
    let objects: Arc<dyn ObjectStore> = Arc::new(Remote::new(objects, options.secrets()));
    let root = if prefix.as_ref().is_empty() { named } else { format!("{named}/{prefix}") };
    let objects = if prefix.as_ref().is_empty() { objects } else { Arc::new(PrefixStore::new(objects, prefix)) as _ };
    Ok(Place { objects, local: None, directories: None, root, made: Vec::new() })
}

#[cfg(not(feature = "hdfs"))]
fn hdfs(url: &str, _: &Url, _: &StoreOptions) -> Result<Place> {
    Err(unsuitable(url, "this binlake was built without hdfs://", "build with --features hdfs"))
}

#[cfg(feature = "hdfs")]
fn hdfs(url: &str, parsed: &Url, options: &StoreOptions) -> Result<Place> {
    let remedy =
        "name hdfs://namenode:port/path, or hdfs://nameservice/path of a service that Hadoop's files or `lake.options` describe";
    let no_place = || unsuitable(url, "this is no place for a lake", remedy);
    let (Some(host), Ok(root)) = (parsed.host_str(), Path::from_url_path(parsed.path())) else { return Err(no_place()) };
    let named = parsed.port().map_or_else(|| format!("hdfs://{host}"), |port| format!("hdfs://{host}:{port}"));
    let opened = super::hdfs::Hdfs::open(&named, host, options);
    let store = opened.map_err(|error| unsuitable(url, &format!("the store cannot be opened: {error}"), remedy))?;
    let directories = Some(store.directories(root.clone()));
    let objects: Arc<dyn ObjectStore> = Arc::new(Remote::new(Arc::new(store), options.secrets()));
    let location = if root.as_ref().is_empty() { named } else { format!("{named}/{root}") };
    let objects = if root.as_ref().is_empty() { objects } else { Arc::new(PrefixStore::new(objects, root)) as _ };
    Ok(Place { objects, local: None, directories, root: location, made: Vec::new() })
}

fn unsuitable(url: &str, reason: &str, remedy: &str) -> Error {
    Error::Unsuitable { url: url.to_owned(), reason: reason.to_owned(), remedy: remedy.to_owned() }
}

fn local(url: &str, parsed: &Url) -> Result<Place> {
    let remedy = "name file:///absolute/path, a directory that this user may write to";
    let path = parsed.to_file_path().ok().filter(|_| url.starts_with("file:///"));
    let root = path.ok_or_else(|| unsuitable(url, "this is no place for a lake", remedy))?;
    let failed = |error: std::io::Error| unsuitable(url, &format!("{}: {error}", root.display()), remedy);
    let made: Vec<PathBuf> = root.ancestors().take_while(|path| !path.exists()).map(PathBuf::from).collect();
    std::fs::create_dir_all(&root).map_err(failed)?;
    let root = root.canonicalize().map_err(failed)?;
    for directory in root.ancestors().take(made.len() + 1) {
        sync_directory(directory).map_err(failed)?;
    }
    let files = LocalFileSystem::new_with_prefix(&root)
        .map_err(|source| Error::Store { path: root.display().to_string(), source })?
        .with_fsync(true);
    Ok(Place { objects: Arc::new(files), directories: None, root: root.display().to_string(), local: Some(root), made })
}

fn retries() -> RetryConfig {
    let backoff = BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(5), base: 2.0 };
    RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_LIMIT }
}

fn s3(url: &str, options: &StoreOptions) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = AmazonS3Builder::new().with_retry(retries());
    for (key, value) in limits() {
        builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
    }
    for (name, value) in environment("aws_") {
        if let Ok(key) = AmazonS3ConfigKey::from_str(&name) {
            builder = builder.with_config(key, value);
        }
    }
    for (name, value) in &options.0 {
        let key = match AmazonS3ConfigKey::from_str(name)? {
            // Else the environment's AWS_ENDPOINT_URL_S3 and AWS_REGION would win over what the file says.
            AmazonS3ConfigKey::Endpoint => AmazonS3ConfigKey::S3Endpoint,
            AmazonS3ConfigKey::DefaultRegion => AmazonS3ConfigKey::Region,
            key => key,
        };
        builder = builder.with_config(key, value);
    }
    Ok(Arc::new(builder.with_url(url).build()?))
}

fn google(url: &str, options: &StoreOptions) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = GoogleCloudStorageBuilder::new().with_retry(retries());
    for (key, value) in limits() {
        builder = builder.with_config(GoogleConfigKey::Client(key), value);
    }
    for (name, value) in environment("google_") {
        if let Ok(key) = GoogleConfigKey::from_str(&name) {
            builder = builder.with_config(key, value);
        }
    }
    for (name, value) in &options.0 {
        builder = builder.with_config(GoogleConfigKey::from_str(name)?, value);
    }
    Ok(Arc::new(builder.with_url(url).build()?))
}

fn azure(url: &str, options: &StoreOptions) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = MicrosoftAzureBuilder::new().with_retry(retries());
    for (key, value) in limits() {
        builder = builder.with_config(AzureConfigKey::Client(key), value);
    }
    for (name, value) in environment("azure_") {
        if let Ok(key) = AzureConfigKey::from_str(&name) {
            builder = builder.with_config(key, value);
        }
    }
    if let Ok(endpoint) = std::env::var("IDENTITY_ENDPOINT") {
        builder = builder.with_config(AzureConfigKey::MsiEndpoint, endpoint);
    }
    for (name, value) in &options.0 {
        builder = builder.with_config(AzureConfigKey::from_str(name)?, value);
    }
    Ok(Arc::new(builder.with_url(url).build()?))
}

fn limits() -> [(ClientConfigKey, &'static str); 2] {
    [(ClientConfigKey::ConnectTimeout, CONNECTION_LIMIT), (ClientConfigKey::Timeout, REQUEST_LIMIT)]
}

/// The variables whose names begin so, in small letters.
fn environment(prefix: &'static str) -> impl Iterator<Item = (String, String)> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?.to_ascii_lowercase(), value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).filter(move |(name, _)| name.starts_with(prefix))
}

/// Parts of the names of options whose values are secret; access_key_id, which is none, would only hide a little more.
const SECRETS: [&str; 7] = ["secret", "token", "password", "account_key", "access_key", "sas_", "encryption_key"];

/// Shorter values are words such as `true`, and hiding them would make a message unreadable.
const SECRET_LENGTH: usize = 8;

impl StoreOptions {
    /// Values that no message may show: of these options, and of the variables that stand in for them.
    fn secrets(&self) -> Vec<String> {
        let options = self.0.iter().map(|(name, value)| (name.clone(), value.clone()));
        let all = options.chain(environment("aws_")).chain(environment("google_")).chain(environment("azure_"));
        let is_secret = |name: &str| SECRETS.iter().any(|part| name.contains(part)) || name.contains("service_account_key");
        all.filter(|(name, value)| is_secret(name) && value.len() >= SECRET_LENGTH).map(|(_, value)| value).collect()
    }

    /// Whether the client of a scheme's store has an option of this name.
    pub fn knows(scheme: &str, name: &str) -> bool {
        match scheme {
            "s3" => AmazonS3ConfigKey::from_str(name).is_ok(),
            "gs" => GoogleConfigKey::from_str(name).is_ok(),
            "az" => AzureConfigKey::from_str(name).is_ok(),
            _ => false,
        }
    }

    fn hidden(&self, text: &str) -> String {
        hidden(text, &self.secrets())
    }
}

/// A text without these words.
pub(super) fn hidden(text: &str, secrets: &[String]) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> StoreOptions {
        StoreOptions(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_url_says_which_store_and_where_in_it() {
        let keys = options(&[("access_key_id", "me"), ("secret_access_key", "mine")]);
        let place = open("s3://bucket/ods/lake/", &keys).unwrap();
        assert_eq!((place.root.as_str(), place.local), ("s3://bucket/ods/lake", None));
        assert_eq!(open("s3://bucket", &keys).unwrap().root, "s3://bucket");
        let azure = options(&[("account_name", "us"), ("account_key", "bWluZQ==")]);
        assert_eq!(open("az://container/ods", &azure).unwrap().root, "az://container/ods");
        let google = options(&[("bearer_token", "a token"), ("disable_system_certificates", "false")]);
        assert_eq!(open("gs://bucket/ods", &google).unwrap().root, "gs://bucket/ods");
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for url in ["s3:///x", "/tmp/x", "file:relative", "hdfs:///x", "https://bucket/x"] {
            assert!(matches!(open(url, &StoreOptions::default()), Err(Error::Unsuitable { .. })), "{url}");
        }
    }

    #[test]
    #[cfg(not(feature = "hdfs"))]
    fn what_was_not_built_in_is_refused_by_name() {
        let error = open("hdfs://namenode:8020/ods", &StoreOptions::default()).unwrap_err();
        assert!(matches!(&error, Error::Unsuitable { reason, remedy, .. }
            if reason.contains("built without hdfs://") && remedy == "build with --features hdfs"));
    }

    #[test]
    #[cfg(feature = "hdfs")]
    fn a_namenode_has_a_port_and_a_name_service_what_describes_it() {
        let service = options(&[
            ("dfs.ha.namenodes.lakes", "one,two"),
            ("dfs.namenode.rpc-address.lakes.one", "127.0.0.1:1"),
            ("dfs.namenode.rpc-address.lakes.two", "127.0.0.1:2"),
        ]);
        for (url, root) in [("hdfs://namenode:8020/ods/lake/", "hdfs://namenode:8020/ods/lake"), ("hdfs://lakes", "hdfs://lakes")]
        {
            let place = open(url, &service).unwrap();
            assert_eq!((place.root.as_str(), place.local.is_none(), place.directories.is_some()), (root, true, true));
        }
        assert!(matches!(open("hdfs://nobody/ods", &service), Err(Error::Unsuitable { .. })));
    }

    #[test]
    fn neither_options_nor_errors_show_a_secret() {
        let secret = "not for any eyes";
        let given = options(&[("azure_storage_sas_key", secret), ("account_name", "us"), ("timeout", secret)]);
        let error = open("az://container/ods", &given).unwrap_err();
        let said = format!("{given:?} {error} {error:?}");
        assert!(said.contains("cannot be opened") && !said.contains(secret), "{said}");
    }
}
