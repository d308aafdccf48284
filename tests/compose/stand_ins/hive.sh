# The entry point of the stand-in for apache/hive:4.1.0: a metastore on a Derby in its working directory.
# shellcheck shell=bash
set -euo pipefail
# shellcheck source=tests/compose/stand_ins/known.sh
source /known.sh
# SERVICE_NAME and DB_DRIVER are the image's, HADOOP_CLASSPATH is that of Hadoop's scripts, which it runs.
only_known SERVICE_NAME DB_DRIVER HADOOP_CLASSPATH
[[ ${SERVICE_NAME:-} == metastore ]] || fail "this stand-in is a metastore only"
[[ ${DB_DRIVER:-derby} == derby ]] || fail "this stand-in has Derby only"
options=(-Xmx1G -XX:+UseSerialGC)
for package in lang lang.reflect io net nio util util.concurrent util.concurrent.atomic text time math; do
    options+=("--add-opens=java.base/java.$package=ALL-UNNAMED")
done
exec java "${options[@]}" --add-opens=java.sql/java.sql=ALL-UNNAMED -cp "/opt/hive/conf:/opt/hive/lib/*:${HADOOP_CLASSPATH:-}" \
    org.apache.hadoop.hive.metastore.HiveMetaStore -p 9083
