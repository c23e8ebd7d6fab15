//! An ONNX model that is run by the server itself, on threads apart.
//!
//! A thread can't be ended: one whose request has taken too long is left to itself, and another takes its place.
//! Of those that are left there may be as many as there are workers, then the commit waits for one to end.

mod given;
mod told;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc;

use axum::body::Bytes;
use modelv_onnx::{Data, Model, Runner, STACK_BYTES, Slot, Tensor};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::ServeError;
use crate::frame::Part;
use crate::process::{About, Form, Tensors};

/// A model, and the threads that run it.
pub(crate) struct Shared {
    path: String,
    model: Model,
    threads: AtomicUsize,
    /// Most threads at a time, those included that are left to themselves.
    threads_max: usize,
    numbers: AtomicU32,
}

impl Shared {
    /// Reads a model, on a thread apart.
    pub(crate) async fn load(
        root: &Path,
        path: &str,
        workers: usize,
    ) -> Result<Arc<Self>, ServeError> {
        let (root, name) = (root.to_owned(), path.to_owned());
        let (reply, loaded) = oneshot::channel();
        spawn(move || {
            let _ = reply.send(Model::load(&root, &name));
        })?;
        let loaded = loaded.await.map_err(io::Error::other)?;
        let path = path.to_owned();
        match loaded {
            Ok(model) => Ok(Arc::new(Self {
                path,
                model,
                threads: AtomicUsize::new(0),
                threads_max: 2 * workers.max(1),
                numbers: AtomicU32::new(1),
            })),
            Err(why) => Err(ServeError::Model { path, why }),
        }
    }

    pub(crate) fn about(&self) -> About {
        let forms = |slots: &[Slot]| slots.iter().map(form).collect();
        About {
            stream: false,
            schema: schema(self.model.inputs(), "what the model takes"),
            returns: schema(self.model.outputs(), "what the model gives"),
            doc: format!("The ONNX model `{}`.", self.path),
            tensors: Some(Tensors {
                inputs: forms(self.model.inputs()),
                outputs: forms(self.model.outputs()),
            }),
        }
    }

    /// What is said to each body.
    fn answer(&self, runner: &Runner, bodies: &[Vec<u8>]) -> Vec<Part> {
        let given = bodies.iter().map(|b| given::read(b, self.model.inputs()));
        let mut given: Vec<Result<Vec<Tensor>, String>> = given.collect();
        if bodies.len() > 1
            && self.model.takes_rows()
            && let Some(parts) = self.together(runner, &mut given)
        {
            return parts;
        }
        let one = |inputs: Result<Vec<Tensor>, String>| match inputs {
            Ok(inputs) => match self.model.run(inputs, runner) {
                Ok(outputs) => told::write(self.model.outputs(), &outputs),
                Err(e) => failed(&e),
            },
            Err(message) => Part::Unfit(words(&message)),
        };
        given.into_iter().map(one).collect()
    }

    /// All in one run; `None` where they don't go together, or it fails.
    fn together(
        &self,
        runner: &Runner,
        given: &mut [Result<Vec<Tensor>, String>],
    ) -> Option<Vec<Part>> {
        let fit: Vec<&Vec<Tensor>> = given.iter().filter_map(|g| g.as_ref().ok()).collect();
        let rows: Vec<usize> = fit.iter().map(|g| rows_of(g)).collect::<Option<_>>()?;
        let columns = 0..self.model.inputs().len();
        let joined = columns.map(|at| join(&fit.iter().map(|g| &g[at]).collect::<Vec<_>>()));
        let joined: Vec<Tensor> = joined.collect::<Option<_>>()?;
        let outputs = self.model.run(joined, runner).ok()?;
        let all: usize = rows.iter().sum();
        if outputs.iter().any(|o| o.dims.first() != Some(&all)) {
            return None;
        }
        let (mut from, mut rows) = (0, rows.into_iter());
        let part = |inputs: &Result<Vec<Tensor>, String>| match inputs {
            Err(message) => Part::Unfit(words(message)),
            Ok(_) => {
                let own = rows.next().unwrap_or(0);
                let cut: Vec<Tensor> = outputs.iter().map(|o| cut(o, from, own)).collect();
                from += own;
                told::write(self.model.outputs(), &cut)
            }
        };
        Some(given.iter().map(part).collect())
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = std::thread::Builder::new().name("onnx".into());
    builder.stack_size(STACK_BYTES).spawn(work).map(drop)
}

/// Why the model did not answer.
fn failed(e: &modelv_onnx::Error) -> Part {
    let text = words(&e.to_string());
    match e {
        modelv_onnx::Error::Unfit(_) => Part::Unfit(text),
        _ => Part::Raised(text),
    }
}

pub(super) fn words(message: &str) -> Bytes {
    json!({"message": message, "trace": ""}).to_string().into()
}

/// The rows that all inputs of a request have.
fn rows_of(inputs: &[Tensor]) -> Option<usize> {
    let first = *inputs.first()?.dims.first()?;
    let is_even = inputs.iter().all(|t| t.dims.first() == Some(&first));
    is_even.then_some(first)
}

/// Tensors behind each other; `None` if they differ in more than the number of their rows.
fn join(tensors: &[&Tensor]) -> Option<Tensor> {
    let first = *tensors.first()?;
    let tail = first.dims.get(1..)?;
    if tensors.iter().any(|t| t.dims.get(1..) != Some(tail)) {
        return None;
    }
    let rows = tensors.iter().filter_map(|t| t.dims.first()).sum();
    let mut data = first.data.clone();
    for tensor in &tensors[1..] {
        match (&mut data, &tensor.data) {
            (Data::Float(a), Data::Float(b)) => a.extend_from_slice(b),
            (Data::Int32(a), Data::Int32(b)) => a.extend_from_slice(b),
            (Data::Int64(a), Data::Int64(b)) => a.extend_from_slice(b),
            (Data::Int8(a), Data::Int8(b)) => a.extend_from_slice(b),
            (Data::Uint8(a), Data::Uint8(b)) => a.extend_from_slice(b),
            (Data::Bool(a), Data::Bool(b)) => a.extend_from_slice(b),
            (Data::Text(a), Data::Text(b)) => a.extend_from_slice(b),
            _ => return None,
        }
    }
    let dims = [&[rows], tail].concat();
    Tensor::new(dims, data).ok()
}

/// Some rows of a tensor.
fn cut(tensor: &Tensor, from: usize, rows: usize) -> Tensor {
    let size: usize = tensor.dims.iter().skip(1).product();
    let part = from * size..(from + rows) * size;
    let data = match &tensor.data {
        Data::Float(v) => Data::Float(v[part].to_vec()),
        Data::Int32(v) => Data::Int32(v[part].to_vec()),
        Data::Int64(v) => Data::Int64(v[part].to_vec()),
        Data::Int8(v) => Data::Int8(v[part].to_vec()),
        Data::Uint8(v) => Data::Uint8(v[part].to_vec()),
        Data::Bool(v) => Data::Bool(v[part].to_vec()),
        Data::Text(v) => Data::Text(v[part].to_vec()),
    };
    let mut dims = tensor.dims.clone();
    dims[0] = rows;
    Tensor { dims, data }
}

fn form(slot: &Slot) -> Form {
    let size = |d: &Option<usize>| d.map_or(-1, |d| i64::try_from(d).unwrap_or(i64::MAX));
    Form {
        name: slot.name.clone(),
        datatype: slot.kind.datatype(),
        shape: slot.dims.iter().map(size).collect(),
    }
}

/// JSON Schema of one tensor, or of several by their names.
fn schema(slots: &[Slot], what: &str) -> Value {
    match slots {
        [one] => lists(one),
        several => {
            let names: Vec<&str> = several.iter().map(|s| s.name.as_str()).collect();
            let mut out = json!({"type": "object", "description": what, "required": names});
            for slot in several {
                out["properties"][&slot.name] = lists(slot);
            }
            out
        }
    }
}

fn lists(slot: &Slot) -> Value {
    let kind = match slot.kind.datatype() {
        "FP32" => "number",
        "BOOL" => "boolean",
        "BYTES" => "string",
        _ => "integer",
    };
    let mut out = json!({"type": kind});
    for size in slot.dims.iter().rev() {
        out = json!({"type": "array", "items": out});
        if let Some(size) = size {
            (out["minItems"], out["maxItems"]) = (json!(size), json!(size));
        }
    }
    out["description"] = match slot.classes.is_empty() {
        true => format!("`{}`, {}", slot.name, slot.kind.datatype()).into(),
        false => format!(
            "`{}`: probabilities of {}",
            slot.name,
            slot.classes.join(", ")
        )
        .into(),
    };
    out
}

struct Question {
    bodies: Vec<Vec<u8>>,
    reply: oneshot::Sender<Vec<Part>>,
}

/// One thread with the model. It ends after what it was asked, when this is dropped.
pub(crate) struct Thread {
    number: u32,
    asks: mpsc::Sender<Question>,
}

/// Counts a thread as long as it runs.
struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.threads.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Thread {
    /// # Errors
    /// Too many are still at work on what nobody waits for any more, or the system has none left.
    pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        shared.threads.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(shared.clone());
        if shared.threads.load(Ordering::Relaxed) > shared.threads_max {
            return Err(io::Error::other(
                "so many predictions are still under way after their time that none more can begin",
            ));
        }
        let (asks, asked) = mpsc::channel::<Question>();
        spawn(move || {
            let runner = Runner::new();
            for question in asked {
                let _ = question
                    .reply
                    .send(counted.0.answer(&runner, &question.bodies));
            }
        })?;
        let number = shared.numbers.fetch_add(1, Ordering::Relaxed);
        Ok(Self { number, asks })
    }

    pub(crate) fn id(&self) -> u32 {
        self.number
    }

    /// Asks it.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) async fn ask(&self, bodies: &[&[u8]]) -> io::Result<Vec<Part>> {
        let (reply, answer) = oneshot::channel();
        let bodies = bodies.iter().map(|b| b.to_vec()).collect();
        let asked = self.asks.send(Question { bodies, reply });
        asked.map_err(|_| io::ErrorKind::BrokenPipe)?;
        answer.await.map_err(io::Error::other)
    }
}
