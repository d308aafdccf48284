//! Hive itself reads the lake, by HiveServer2.

use std::path::Path;

use super::copies::{Engine, columns, reads_what_mysql_has};
use super::*;

/// Timestamps are written as they were read. As INT96 those before 1582 would be put into the Julian calendar.
const AS_IT_IS: &str = "SET hive.parquet.write.int64.timestamp=true;\n";

fn copying(table: &Table, name: &LakeName, into: &Path) -> String {
    let (columns, LakeName { database, table }) = (columns(table, '`'), name);
    format!(
        "{AS_IT_IS}CREATE EXTERNAL TABLE {database}.{table}_copy STORED AS PARQUET LOCATION 'file://{}' AS SELECT {columns} FROM {database}.{table};\n\
         DROP TABLE {database}.{table}_copy;\n",
        into.display(),
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: an engine that is fetched for this test alone"]
async fn hive_itself_reads_what_mysql_has() {
    reads_what_mysql_has(|metastore| Engine::start("Hive", "hive.sh", copying, metastore), "hive_itself", 72).await;
}
