//! `mqctl produce`: records from lines, arguments or a file, with an account of what was stored.

use std::{
    fs::File,
    io::{self, BufReader, IsTerminal, Read},
    time::Duration,
};

use anyhow::{Context, bail};
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use mq_client::{Producer, ProducerOptions, ProducerRecord, v1};
use tokio::sync::mpsc;

use super::produce_tally::{DELIVERIES_MAX, Ended, Sent, SharedTally, follow};
use crate::{
    cli::{Acks, Codec, Globals, Produce},
    exit::{Exit, usage},
    input_format::{InputError, InputFormat},
    output::Output,
    session::Session,
};

/// Records read ahead of those sent.
const READ_AHEAD_RECORDS: usize = 4_096;
/// Input read at once, in bytes.
const READ_BYTES: usize = 256 << 10;
/// How long ctrl-C waits for the answers to what was sent.
const INTERRUPT_GRACE: Duration = Duration::from_secs(5);
/// A record that cannot be delivered is given up after this.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends all records; ends at the first that fails, at the end of the input, or with ctrl-C.
pub(super) async fn run(globals: &Globals, output: Output, args: Produce) -> anyhow::Result<Exit> {
    let format = input_format(&args)?;
    let input = Input::open(&args, format, globals.quiet)?;
    let session = &Session::open(globals, output).await?;
    let options = ProducerOptions {
        acks: acks(args.acks),
        compression: args.compression.map_or(v1::Compression::Unspecified, codec),
        delivery_timeout: DELIVERY_TIMEOUT,
        ..ProducerOptions::default()
    };
    let producer = match session.client.producer(&args.topic, options).await {
        Ok(producer) => producer,
        Err(error) => return Err(session.explain(error, &args.topic).await),
    };
    if matches!(input.from, From::Stdin) && io::stdin().is_terminal() {
        session.say("one record per line; ctrl-D ends");
    }
    let progress = input.progress.clone();
    let tally = SharedTally::new(&args.topic, session.verbose);
    let (deliveries, queue) = mpsc::channel(DELIVERIES_MAX);
    let answered = tokio::spawn(follow(queue, tally.clone()));

    let template = template(args);
    let sending = send_all(&producer, &template, input.start(), deliveries, &tally);
    let mut ended = tokio::select! {
        ended = sending => ended,
        pressed = tokio::signal::ctrl_c() => pressed.map(|()| Ended::Interrupted).map_err(Into::into),
    };
    // What was sent is answered for, whatever ended the sending; only a person in a hurry need not wait for all.
    let settle = async {
        producer.close().await;
        answered.await.context("the task that counts acks broke down")
    };
    if matches!(ended, Ok(Ended::Interrupted)) {
        let _ = tokio::time::timeout(INTERRUPT_GRACE, settle).await;
    } else {
        tokio::select! {
            settled = settle => settled?,
            pressed = tokio::signal::ctrl_c() => {
                ended = pressed.map(|()| Ended::Interrupted).map_err(Into::into);
            }
        }
    }
    progress.finish_and_clear();
    tally.report(session, *ended.as_ref().unwrap_or(&Ended::Stopped))?;
    Ok(if ended? != Ended::All || tally.anything_missing() { Exit::Error } else { Exit::Ok })
}

fn input_format(args: &Produce) -> anyhow::Result<InputFormat> {
    let format =
        InputFormat::parse(&args.format).map_err(|error| usage(format!("-f {}: {error}", args.format)))?;
    for (letter, given) in [('k', args.key.is_some()), ('p', args.partition.is_some())] {
        if given && format.has(letter) {
            return Err(usage(format!(
                "%{letter} in the format and -{letter} say the same: leave one of them out"
            )));
        }
    }
    Ok(format)
}

/// What every record has that does not bring it along.
fn template(args: Produce) -> ProducerRecord {
    let headers = args.headers.into_iter().map(|(key, value)| v1::Header { key, value: Some(value.into()) });
    ProducerRecord {
        partition: args.partition,
        key: args.key.map(Bytes::from),
        headers: headers.collect(),
        ..ProducerRecord::default()
    }
}

async fn send_all(
    producer: &Producer,
    template: &ProducerRecord,
    mut source: mpsc::Receiver<Result<ProducerRecord, InputError>>,
    deliveries: mpsc::Sender<Sent>,
    tally: &SharedTally,
) -> anyhow::Result<Ended> {
    while let Some(read) = source.recv().await {
        let read = read?;
        let record = ProducerRecord {
            partition: read.partition.or(template.partition),
            key: read.key.or_else(|| template.key.clone()),
            headers: template.headers.clone(),
            ..read
        };
        let size_bytes =
            record.key.as_ref().map_or(0, Bytes::len) + record.value.as_ref().map_or(0, Bytes::len);
        // Room for it first: ctrl-C must not come between a record that was sent and its place in the account.
        let place = deliveries.reserve().await;
        let delivery = producer.send(record).await;
        let sent = Sent { number: tally.sent(), delivery, size_bytes };
        let Ok(place) = place else {
            tally.settle(sent).await; // one before it failed, which the tally tells of
            return Ok(if source.recv().await.is_some() { Ended::Stopped } else { Ended::All });
        };
        place.send(sent);
    }
    Ok(Ended::All)
}

/// Where records come from.
struct Input {
    format: InputFormat,
    from: From,
    progress: ProgressBar,
}

enum From {
    Arguments(Vec<String>),
    Stdin,
    File(File),
}

impl Input {
    fn open(args: &Produce, format: InputFormat, quiet: bool) -> anyhow::Result<Input> {
        let mut progress = ProgressBar::hidden();
        let from = match &args.file {
            Some(path) => {
                let file = File::open(path).with_context(|| format!("could not open {}", path.display()))?;
                let metadata =
                    file.metadata().with_context(|| format!("could not look at {}", path.display()))?;
                if metadata.is_dir() {
                    bail!("{} is a directory: name a file", path.display());
                }
                if metadata.is_file() && io::stderr().is_terminal() && !quiet {
                    progress = ProgressBar::new(metadata.len()).with_style(progress_style());
                }
                From::File(file)
            }
            None if !args.values.is_empty() => From::Arguments(args.values.clone()),
            None => From::Stdin,
        };
        Ok(Input { format, from, progress })
    }

    /// Reads on a thread of its own: a terminal or a pipe blocks.
    fn start(self) -> mpsc::Receiver<Result<ProducerRecord, InputError>> {
        let (records, source) = mpsc::channel(READ_AHEAD_RECORDS);
        let Input { format, from, progress } = self;
        tokio::task::spawn_blocking(move || match from {
            From::Arguments(values) => {
                let all = values.into_iter().map(|value| Ok(ProducerRecord::value(value)));
                let _all_taken = all.map(|record| records.blocking_send(record)).all(|sent| sent.is_ok());
            }
            From::Stdin => read_all(&format, io::stdin().lock(), &records),
            From::File(file) => read_all(&format, progress.wrap_read(file), &records),
        });
        source
    }
}

/// Until the input ends, cannot be read, or nobody takes the records any more.
fn read_all(
    format: &InputFormat,
    input: impl Read,
    records: &mpsc::Sender<Result<ProducerRecord, InputError>>,
) {
    let mut input = BufReader::with_capacity(READ_BYTES, input);
    for number in 1.. {
        let Some(read) = format.read(&mut input, number).transpose() else { return };
        let is_last = read.is_err();
        if records.blocking_send(read).is_err() || is_last {
            return;
        }
    }
}

fn progress_style() -> ProgressStyle {
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    style.unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// As the protocol has it.
pub(super) fn acks(acks: Acks) -> v1::Acks {
    match acks {
        Acks::None => v1::Acks::None,
        Acks::Leader => v1::Acks::Leader,
        Acks::Quorum => v1::Acks::Quorum,
    }
}

/// As the protocol has it.
pub(super) fn codec(codec: Codec) -> v1::Compression {
    match codec {
        Codec::None => v1::Compression::None,
        Codec::Gzip => v1::Compression::Gzip,
        Codec::Snappy => v1::Compression::Snappy,
        Codec::Lz4 => v1::Compression::Lz4,
        Codec::Zstd => v1::Compression::Zstd,
    }
}
