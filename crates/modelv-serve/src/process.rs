//! One Python process: how it starts, how it is asked, and that it ends with its owner.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use serde::Deserialize;
use tokio::net::UnixStream;

use crate::ServeError;
use crate::body::{self, Held, Room};
use crate::config::ServeOptions;
use crate::frame::{self, Part};
use crate::log::Log;
use crate::payload::Names;

const SCRIPT: &str = include_str!("worker.py");
/// Longest time for loading the user's code and model.
const START: Duration = Duration::from_secs(600);
/// What is read at once.
const READ_BYTES: usize = 64 << 10;

/// What a worker says of the user's function.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(crate) struct About {
    /// Whether it gives its results one by one.
    pub(crate) stream: bool,
    /// JSON Schema of what it takes.
    pub(crate) schema: serde_json::Value,
    /// JSON Schema of what it returns.
    pub(crate) returns: serde_json::Value,
    /// Its documentation.
    pub(crate) doc: String,
    /// What it takes and gives, where that is tensors with names of their own.
    #[serde(skip)]
    pub(crate) tensors: Option<Tensors>,
}

/// Tensors with names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tensors {
    pub(crate) inputs: Vec<Form>,
    pub(crate) outputs: Vec<Form>,
}

/// A type as a tensor; -1: of any size.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Form {
    pub(crate) name: String,
    pub(crate) datatype: &'static str,
    pub(crate) shape: Vec<i64>,
}

impl About {
    /// What the function takes, as tensors.
    pub(crate) fn inputs(&self) -> Vec<Form> {
        match &self.tensors {
            Some(tensors) => tensors.inputs.clone(),
            None => vec![Form::of("inputs", &self.schema)],
        }
    }

    /// What it gives.
    pub(crate) fn outputs(&self) -> Vec<Form> {
        match &self.tensors {
            Some(tensors) => tensors.outputs.clone(),
            None => vec![Form::of("predictions", &self.returns)],
        }
    }

    /// What runs it, in the words of the Open Inference Protocol.
    pub(crate) fn platform(&self) -> &'static str {
        match self.tensors {
            Some(_) => "onnx_onnxv1",
            None => "modelv_python",
        }
    }

    /// The type of an output, where it has one of its own.
    pub(crate) fn datatype(&self, output: &str) -> Option<&'static str> {
        let mut outputs = self.tensors.iter().flat_map(|t| &t.outputs);
        outputs.find(|o| o.name == output).map(|o| o.datatype)
    }

    /// What the only input and the only output are called.
    pub(crate) fn names(&self) -> Names<'_> {
        match &self.tensors {
            Some(Tensors { inputs, outputs }) => Names {
                input: (inputs.len() == 1).then(|| inputs[0].name.as_str()),
                output: (outputs.len() == 1).then(|| outputs[0].name.as_str()),
            },
            None => Names::default(),
        }
    }
}

impl Form {
    /// Of the lists that a schema describes.
    pub(crate) fn of(name: &str, schema: &serde_json::Value) -> Self {
        let (mut at, mut shape) = (schema, Vec::new());
        while at["type"] == "array" {
            shape.push(-1);
            at = &at["items"];
        }
        let datatype = match at["type"].as_str() {
            Some("number") => "FP64",
            Some("integer") => "INT64",
            Some("boolean") => "BOOL",
            _ => "BYTES",
        };
        if shape.is_empty() {
            shape.push(-1);
        }
        Self {
            name: name.to_owned(),
            datatype,
            shape,
        }
    }
}

/// One Python process. Ends when it is dropped.
pub(crate) struct Process {
    child: Child,
    stream: UnixStream,
    /// Bytes that came and were not taken yet.
    read: Vec<u8>,
    room: Room,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts Python and waits until it has loaded the user's function.
    pub(crate) async fn start(
        options: &ServeOptions,
        room: &Room,
        log: &Arc<Log>,
    ) -> Result<(Self, About), ServeError> {
        let entry = |detail: String| ServeError::Entry {
            entry: options.entry.clone(),
            detail,
        };
        let mut process = Self::spawn(options, room, log).map_err(|e| {
            let python = options.python.display();
            entry(format!("{python}: {e}"))
        })?;
        let hello = tokio::time::timeout(START, process.receive()).await;
        let hello = hello.map_err(|_| entry("it is not loaded after ten minutes".into()))?;
        match hello.as_ref().map(Vec::as_slice) {
            Ok([Part::Result(about)]) => {
                let about = serde_json::from_slice(about).map_err(|e| entry(e.to_string()))?;
                Ok((process, about))
            }
            Ok([Part::Raised(text)]) => Err(entry(raised(text).0)),
            _ => {
                // Killed first: one that said something else may never end by itself.
                let status = process.status().unwrap_or_default();
                Err(entry(format!("Python ended early: {status}")))
            }
        }
    }

    fn spawn(options: &ServeOptions, room: &Room, log: &Arc<Log>) -> io::Result<Self> {
        let settings = serde_json::json!({
            "app_dir": options.app_dir, "site_dirs": options.site_dirs, "entry": options.entry,
            "frame": options.frame, "batch": options.batch,
        });
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut child = Command::new(&options.python)
            .args(["-u", "-B", "-c", SCRIPT])
            .env("MODELV_WORKER", settings.to_string())
            .env("MODELV_COMMIT", &options.commit)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C on a terminal is for the front, which first answers what is under way.
            .process_group(0)
            .spawn()?;
        if let Some(errors) = child.stderr.take() {
            log.follow(&options.commit, errors);
        }
        Ok(Self {
            child,
            stream: UnixStream::from_std(ours)?,
            read: Vec::new(),
            room: room.clone(),
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the system says of its end.
    pub(crate) fn status(&mut self) -> Option<String> {
        let _ = self.child.kill();
        self.child.wait().ok().map(|s| s.to_string())
    }

    /// Returns when the process has gone away, or says what nobody asked for.
    pub(crate) async fn gone(&self) {
        let _ = self.stream.readable().await;
        // A readiness that was left over from the last answer is none of its end.
        let mut byte = [0];
        loop {
            match self.stream.try_read(&mut byte) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    let _ = self.stream.readable().await;
                }
                _ => return,
            }
        }
    }

    /// Asks it.
    ///
    /// # Errors
    /// It has died, or says what is no answer.
    pub(crate) async fn ask(&mut self, bodies: &[&[u8]]) -> io::Result<Vec<Part>> {
        let question = frame::question(bodies).map_err(io::Error::other)?;
        self.send(&question).await?;
        self.receive().await
    }

    /// The next of several results, or their end.
    ///
    /// # Errors
    /// As [`Process::ask`].
    pub(crate) async fn go_on(&mut self) -> io::Result<Part> {
        self.send(b"g").await?;
        let mut parts = self.receive().await?;
        parts
            .pop()
            .ok_or_else(|| io::Error::other("an empty answer"))
    }

    /// No more results are wanted. Returns when the worker has let go of them.
    ///
    /// # Errors
    /// It has died, or says something else: what it says next would be an answer to somebody else.
    pub(crate) async fn stop(&mut self) -> io::Result<()> {
        self.send(b"x").await?;
        match self.receive().await?.as_slice() {
            [Part::End] => Ok(()),
            _ => Err(io::Error::other("no end of the results")),
        }
    }

    async fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.try_write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.stream.writable().await?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    async fn receive(&mut self) -> io::Result<Vec<Part>> {
        let end = loop {
            match frame::frame_bytes(&self.read) {
                Some(end) => break end,
                None => self.more().await?,
            }
        };
        // Before its bytes are here: what there is no room for is never kept.
        let held = match self.room.hold_result(end) {
            Ok(held) => held,
            Err(why) => {
                self.throw_away(end).await?;
                return Ok(vec![why]);
            }
        };
        while self.read.len() < end {
            self.more().await?;
        }
        let frame = self.take(end, held);
        frame::parts(&frame).map_err(io::Error::other)
    }

    /// The first bytes of what came.
    fn take(&mut self, end: usize, held: Held) -> Bytes {
        let rest = self.read.split_off(end);
        let mut bytes = std::mem::replace(&mut self.read, rest);
        // It grew by doubling.
        bytes.shrink_to_fit();
        body::held(bytes, held)
    }

    async fn throw_away(&mut self, end: usize) -> io::Result<()> {
        let mut left = end;
        while left > self.read.len() {
            left -= self.read.len();
            self.read.clear();
            self.more().await?;
        }
        self.read.drain(..left);
        Ok(())
    }

    /// Waits for more bytes.
    async fn more(&mut self) -> io::Result<()> {
        let mut chunk = [0; READ_BYTES];
        loop {
            self.stream.readable().await?;
            match self.stream.try_read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.read.extend_from_slice(&chunk[..n]);
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// Message and traceback of what a worker raised.
pub(crate) fn raised(text: &[u8]) -> (String, String) {
    let error: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    let word = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    (word("message"), word("trace"))
}
