//! `ravelin explain URL`: what a cluster's configuration, that of a file, or a running process does with a request. It must judge
//! nothing by itself: the table that serves requests is asked.

mod cluster;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use ravelin_cluster::provider::{ProviderSpec, file::read_once, specs};
use ravelin_config::Checker;
use ravelin_config::static_config::{Inputs, load, read_if_there};
use ravelin_proxy::explain::{Question, explain, table_of};

use crate::cli::ExplainOptions;
use crate::exit::CheckFailed;
use crate::operator;

const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// An explanation has at most some hundreds of lines.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Prints the explanation.
///
/// # Errors
/// The question is none, the configuration cannot be read, or who is asked does not answer.
pub(crate) fn run(options: &ExplainOptions) -> anyhow::Result<()> {
    let mut text = match (&options.api, &options.config_file) {
        (Some(api), _) => of_process(api, options)?,
        (None, Some(file)) => of_file(file, options)?,
        (None, None) => of_cluster(options)?,
    };
    if options.operator.json {
        text = format!("{}\n", serde_json::json!({ "explanation": text }));
    }
    // Who reads only the beginning has what they want.
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// What is known of the request besides its URL, under the names of the API's parameters.
fn details(options: &ExplainOptions) -> Vec<(&'static str, &str)> {
    let mut all = vec![("method", options.method.as_str())];
    all.extend(options.headers.iter().map(|field| ("header", field.as_str())));
    all.extend(options.client.as_deref().map(|client| ("client", client)));
    all.extend(options.entry_point.as_deref().map(|name| ("entryPoint", name)));
    all
}

fn question(options: &ExplainOptions) -> anyhow::Result<Question> {
    let mut question = Question::new(&options.url)?;
    for (name, value) in details(options) {
        question = question.with(name, value)?;
    }
    Ok(question)
}

/// By the table that a proxy makes of what the cluster has committed.
fn of_cluster(options: &ExplainOptions) -> anyhow::Result<String> {
    let question = question(options)?;
    let records = cluster::records(&operator::configuration(&options.operator)?);
    let table = table_of(records.iter().map(|(key, record)| (key, record)))?;
    Ok(explain(&table, &question)?.to_string())
}

/// By the table that a lone process would make of its files now.
fn of_file(file: &Path, options: &ExplainOptions) -> anyhow::Result<String> {
    let question = question(options)?;
    let arguments = [format!("--configFile={}", file.display())];
    let inputs = Inputs { arguments: &arguments, environment: &[], read: &read_if_there };
    let loaded = load(&inputs).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        CheckFailed(format!("the static configuration cannot be used:\n{}", lines.join("\n")))
    })?;
    let mut checker = Checker::default();
    checker.replace_provider(&loaded.draft);
    for spec in specs(&loaded.config.providers) {
        // Nothing was put by REST into a process that does not run.
        let ProviderSpec::File(spec) = spec else { continue };
        let draft = read_once(&spec.source).map_err(|problems| {
            anyhow!("{} cannot be read: {}", spec.source.path().display(), problems.join("; "))
        })?;
        checker.replace_provider(&draft);
    }
    let table = table_of(checker.records())?;
    Ok(explain(&table, &question)?.to_string())
}

/// By the table that a process serves by.
fn of_process(api: &str, options: &ExplainOptions) -> anyhow::Result<String> {
    let (address, base) = api.split_once('/').unwrap_or((api, ""));
    let base = base.trim_matches('/');
    let base = if base.is_empty() { String::new() } else { format!("/{base}") };
    let mut query = format!("url={}", encoded(&options.url));
    for (name, value) in details(options) {
        query.push_str(&format!("&{name}={}", encoded(value)));
    }
    let mut stream = TcpStream::connect(address).with_context(|| format!("nothing answers on {address}"))?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX)).context("a connected socket")?;
    write!(stream, "GET {base}/api/explain?{query} HTTP/1.0\r\nHost: {address}\r\n\r\n")
        .context("the API")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).context("the API's answer")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no end of its head")?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        Some("404") => bail!("{address} has no API under {base}/api, or one that cannot explain"),
        _ => Err(CheckFailed(body.trim_end().to_owned()).into()),
    }
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
