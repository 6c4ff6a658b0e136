//! A process of its own for one side of a measurement: this program again, in another role.
//!
//! It takes one request a line on its standard input and gives one answer a line on its standard output, both JSON;
//! it ends when its input does, so it never outlives the benchmark. What a request means is the benchmark's.

use anyhow::{Context, Result, anyhow};
use serde::{Serialize, de::DeserializeOwned};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A running helper; ended when dropped.
pub struct Helper {
    role: &'static str,
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Helper {
    /// Starts this program again with the role as its only argument.
    ///
    /// # Errors
    /// The system gives no process.
    pub fn start(role: &'static str) -> Result<Helper> {
        let program = std::env::current_exe().context("this program does not know where it is")?;
        let mut child = Command::new(program)
            .arg(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the {role}"))?;
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("the output is a pipe"));
        Ok(Helper { role, child, requests, answers })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// The helper says what failed, or it has ended.
    pub fn call<Answer: DeserializeOwned>(&mut self, request: &impl Serialize) -> Result<Answer> {
        let role = self.role;
        let line = serde_json::to_string(request).context("a request can be written as JSON")?;
        let requests = self.requests.as_mut().expect("the pipe is open until the helper is dropped");
        writeln!(requests, "{line}").with_context(|| format!("the {role} has ended"))?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).with_context(|| format!("the {role} does not answer"))?;
        let answer: Result<Answer, String> =
            serde_json::from_str(&answer).with_context(|| format!("the {role} has ended"))?;
        answer.map_err(|error| anyhow!("{error}; the request was {line}"))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.requests = None; // the end of its input
        let _ = self.child.wait();
    }
}

/// The helper's side: answers requests until there are no more.
///
/// # Errors
/// The benchmark has ended without closing the pipe, or speaks another language.
pub fn serve<Request: DeserializeOwned, Answer: Serialize>(
    mut answer: impl FnMut(Request) -> Result<Answer>,
) -> Result<()> {
    for line in std::io::stdin().lines() {
        let request = serde_json::from_str(&line.context("cannot read a request")?)
            .context("a request is not as expected")?;
        let answer = answer(request).map_err(|error| format!("{error:#}"));
        let line = serde_json::to_string(&answer).context("an answer can be written as JSON")?;
        writeln!(std::io::stdout(), "{line}").context("nobody takes the answer")?;
    }
    Ok(())
}
