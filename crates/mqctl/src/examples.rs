//! Three runnable examples below every help text of the command tree in [`crate::cli`].

pub(crate) const TOPIC: &str = "\
Examples:
  mqctl topic create orders --partitions 3 --config retention.ms=86400000
  mqctl topic describe orders
  mqctl topic delete orders --dry-run";

pub(crate) const PRODUCE: &str = "\
Examples:
  mqctl produce orders < orders.txt
  mqctl produce orders 'one order' 'another' -k customer-7 -H source=shop
  mqctl produce orders --file orders.tsv -f '%k\\t%v\\n' -z zstd

Input format: %v value, %k key, %p partition, each up to what follows it; \\n \\r \\t \\\\ \\0 \\xHH as in C.";

pub(crate) const CONSUME: &str = "\
Examples:
  mqctl consume orders
  mqctl consume orders -o start:end -f '%p/%o %k=%v\\n'
  mqctl consume orders payments -o @-1h -n 10 --output json

Format: %t topic, %p partition, %o offset, %k key, %v value, %h headers, %d timestamp in ms, %% a \
percent sign; \\n \\r \\t \\\\ \\0 \\xHH as in C.";

pub(crate) const CLUSTER: &str = "\
Examples:
  mqctl cluster info
  mqctl cluster health -w
  mqctl cluster brokers -o json";

pub(crate) const PARTITION: &str = "\
Examples:
  mqctl partition list
  mqctl partition list orders
  mqctl partition list --leaderless --under-replicated -o json";

pub(crate) const LOG: &str = "\
Examples:
  mqctl log verify ./mq-data
  mqctl log dump ./mq-data --quorum 1024
  mqctl log verify ./mq-data -o json";

pub(crate) const BENCH: &str = "\
Examples:
  mqctl bench produce bench --create --partitions 4
  mqctl bench consume bench
  mqctl bench e2e bench --rate 2000 --for 30s";

pub(crate) const BENCH_PRODUCE: &str = "\
Examples:
  mqctl bench produce bench --create --partitions 4 --connections 4
  mqctl bench produce bench --records 1000000 --record-size 100B -z zstd --payload text
  mqctl bench produce bench --for 1m --rate 5000 --linger 0ms -o json

Records are acknowledged as any others, and stay in the topic: mqctl topic delete bench removes them. A \
record that is acknowledged counts, with the bytes of its value; 1 MB is 1000000 bytes.";

pub(crate) const BENCH_CONSUME: &str = "\
Examples:
  mqctl bench consume bench
  mqctl bench consume bench --connections 4 -o json
  mqctl bench consume bench --from end --for 30s

Records that mqctl bench made are verified: their bytes, and that none is missing, repeated or out of order.";

pub(crate) const BENCH_END_TO_END: &str = "\
Examples:
  mqctl bench e2e bench --create
  mqctl bench e2e bench --rate 10000 --for 1m --record-size 200B
  mqctl bench e2e bench --rate 1 --records 100 -o json";

pub(crate) const GENERATE: &str = "\
Examples:
  mqctl generate completion bash > /etc/bash_completion.d/mqctl
  mqctl generate completion zsh > \"${fpath[1]}/_mqctl\"
  mqctl generate completion fish > ~/.config/fish/completions/mqctl.fish";

pub(crate) const HEALTHCHECK: &str = "\
Examples:
  mqctl healthcheck
  mqctl healthcheck --timeout 1s -o json
  mqctl healthcheck --brokers 10.0.0.7:9650";

pub(crate) const ROOT: &str = "\
Examples:
  mqctl topic create orders --partitions 3
  echo hello | mqctl produce orders
  mqctl consume orders -o start:end -f '%p/%o %v\\n'

Exit codes: 0 done, 1 an error, 2 a usage error, 10 not healthy.";

pub(crate) const VERSION: &str = "\
Examples:
  mqctl version
  mqctl version -o json
  mqctl --version";

pub(crate) const TOPIC_CREATE: &str = "\
Examples:
  mqctl topic create orders
  mqctl topic create orders payments --partitions 6
  mqctl topic create orders --if-not-exists --config retention.ms=86400000";

pub(crate) const TOPIC_LIST: &str = "\
Examples:
  mqctl topic list
  mqctl topic list --pattern 'orders-.*'
  mqctl topic list -o json";

pub(crate) const TOPIC_DESCRIBE: &str = "\
Examples:
  mqctl topic describe orders
  mqctl topic describe orders -o wide
  mqctl topic describe orders -o json";

pub(crate) const TOPIC_ALTER: &str = "\
Examples:
  mqctl topic alter orders --set retention.ms=86400000
  mqctl topic alter orders --unset retention.ms
  mqctl topic alter orders --partitions 12 --dry-run";

pub(crate) const TOPIC_DELETE: &str = "\
Examples:
  mqctl topic delete orders --dry-run
  mqctl topic delete orders --yes
  mqctl topic delete orders --purge --yes";

pub(crate) const TOPIC_TRIM: &str = "\
Examples:
  mqctl topic trim orders --to @-7d --dry-run
  mqctl topic trim orders --to end --yes
  mqctl topic trim orders --to 1000 --partition 0 --yes";

pub(crate) const TRASH: &str = "\
Examples:
  mqctl topic trash list
  mqctl topic trash restore orders
  mqctl topic trash purge orders --yes";

pub(crate) const TRASH_LIST: &str = "\
Examples:
  mqctl topic trash list
  mqctl topic trash list -o wide
  mqctl topic trash list -o json";

pub(crate) const TRASH_RESTORE: &str = "\
Examples:
  mqctl topic trash restore orders
  mqctl topic trash restore 6f9c2d1e-0b7a-4c53-9a51-3f2b8d7e6c10
  mqctl topic trash restore orders -o json";

pub(crate) const TRASH_PURGE: &str = "\
Examples:
  mqctl topic trash purge orders --dry-run
  mqctl topic trash purge orders --yes
  mqctl topic trash purge 6f9c2d1e-0b7a-4c53-9a51-3f2b8d7e6c10 --yes";

pub(crate) const CLUSTER_INFO: &str = "\
Examples:
  mqctl cluster info
  mqctl cluster info -o wide
  mqctl cluster info -o json";

pub(crate) const CLUSTER_HEALTH: &str = "\
Examples:
  mqctl cluster health
  mqctl cluster health -w
  mqctl cluster health -o json";

pub(crate) const CLUSTER_BROKERS: &str = "\
Examples:
  mqctl cluster brokers
  mqctl cluster brokers -o wide
  mqctl cluster brokers -o json";

pub(crate) const LOG_DUMP: &str = "\
Examples:
  mqctl log dump ./mq-data
  mqctl log dump ./mq-data --quorum 1024
  mqctl log dump ./mq-data -o json";

pub(crate) const LOG_VERIFY: &str = "\
Examples:
  mqctl log verify ./mq-data
  mqctl log verify ./mq-data --quorum 1024
  mqctl log verify ./mq-data -o json";

pub(crate) const LOG_REPAIR: &str = "\
Examples:
  mqctl log repair ./mq-data --dry-run
  mqctl log repair ./mq-data
  mqctl log repair ./mq-data --yes -o json

What is cut off stays in the old files, or goes to quarantine/ in the data directory; delete it there when nobody needs
it. Exit codes: 0 all is good now, 10 something is wrong that was not repaired.";
