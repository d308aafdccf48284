# The entry point of the stand-in for apache/kafka:4.3.1: KAFKA_SOME_SETTING becomes some.setting, and has to be one of the broker's.
# shellcheck shell=bash
set -euo pipefail
# shellcheck source=tests/compose/stand_ins/known.sh
source /known.sh
only_known 'KAFKA_*' CLUSTER_ID
properties=/etc/kafka/server.properties
: >"$properties"
while read -r name; do
    case $name in
    KAFKA_HEAP_OPTS) ;;
    KAFKA_*)
        # The image's rules: three underscores are a dash, two are an underscore, one is a dot.
        setting=${name#KAFKA_}
        setting=${setting,,}
        setting=${setting//___/-}
        setting=${setting//__/@}
        setting=${setting//_/.}
        setting=${setting//@/_}
        grep -qxF -e "$setting" /opt/kafka/settings.txt || fail "$name: the broker has no setting $setting"
        printf '%s=%s\n' "$setting" "${!name}" >>"$properties"
        ;;
    esac
done < <(compgen -e)
read -ra heap <<<"${KAFKA_HEAP_OPTS:--Xmx1G -Xms1G}"
kafka=(java "${heap[@]}" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp '/opt/kafka/libs/*')
"${kafka[@]}" kafka.tools.StorageTool format --ignore-formatted --cluster-id "${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}" --config "$properties"
exec "${kafka[@]}" kafka.Kafka "$properties"
