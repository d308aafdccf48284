//! A daemon's world whose lake is a bucket: a server with tables under load, and a network before the bucket that can go wrong.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::daemon::Daemon;
use crate::equality::assert_workload_exact;
use crate::s3::{KEY, S3, SECRET};
use crate::s3_proxy::S3Proxy;
use crate::scene::Scene;
use crate::server::Server;
use crate::workload::{self, SHAPES};

/// Rows that every table starts with.
const ROWS: usize = 300;
/// How long cleaning up may take: the daemon looks every half minute.
const CLEAN_LIMIT: Duration = Duration::from_secs(120);

/// See the module.
pub(super) struct Bay {
    pub(super) server: &'static Server,
    pub(super) database: &'static str,
    pub(super) scene: Scene,
    pub(super) tables: Vec<String>,
    pub(super) bucket: String,
    pub(super) proxy: S3Proxy,
}

impl Bay {
    /// Tables under `database` of the shared server, a lake in a bucket of its own, and more lines of `lake:`.
    pub(super) async fn new(database: &'static str, more: &str) -> Self {
        let server = Server::shared();
        workload::prepare(server, database, &SHAPES, ROWS).await;
        let bucket = S3::shared().bucket();
        let proxy = S3Proxy::start(S3::shared().port()).await;
        let mut scene = Scene::new(server, &workload::listed(database, &["ordinary", "composite"]));
        scene.variables.push(("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()));
        let (endpoint, url) = (format!("http://127.0.0.1:{}", proxy.port()), format!("s3://{bucket}/lakes/ods"));
        scene.edit(|yaml| {
            yaml.lake_url = Some(url);
            yaml.lake =
                format!("  options: {{endpoint: \"{endpoint}\", allow_http: true, access_key_id: {KEY}, timeout: 2s}}\n{more}");
        });
        let tables = workload::names(database, &SHAPES);
        Self { server, database, scene, tables, bucket, proxy }
    }

    /// A table's full name.
    pub(super) fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.database)
    }

    /// All that must hold when the load has ended: every mirror equal, no change twice, and the changelog leads to what MySQL has.
    pub(super) async fn assert_exact(&self) {
        self.scene.catch_up();
        assert_workload_exact(&self.scene, self.server, self.database, &self.tables).await;
    }

    /// The live files of all tables, as objects of the bucket.
    fn live(&self) -> BTreeSet<String> {
        let mirrors = self.tables.iter().map(|table| self.scene.files(table));
        let changelogs = ["ordinary", "composite"].map(|table| self.scene.changelog_files(&self.table(table)));
        let root = format!("s3://{}/", self.bucket);
        mirrors.chain(changelogs).flatten().map(|file| file.strip_prefix(&root).unwrap().to_owned()).collect()
    }

    /// Waits until a daemon has removed everything but the live files: `retention` has to let them go.
    pub(super) fn assert_clean(&self) {
        let daemon = Daemon::start(&self.scene);
        let deadline = Instant::now() + CLEAN_LIMIT;
        loop {
            let objects: BTreeSet<String> =
                S3::shared().objects(&self.bucket).into_iter().filter(|object| object.ends_with(".parquet")).collect();
            let live = self.live();
            assert!(live.is_subset(&objects), "live files are gone: {:?}", live.difference(&objects));
            let left: Vec<&String> = objects.difference(&live).collect();
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "{} files that nobody needs stay: {left:?}", left.len());
            std::thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(S3::shared().open_uploads(&self.bucket), 0, "uploads that nobody ended");
        daemon.stop();
    }
}
