//! Values of the library as Python objects, and the other way.

use std::collections::BTreeMap;

use modelv_repo::core::value::{DEPTH_MAX, Value};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde_json::Value as Json;

/// JSON as dicts, lists, strings, numbers, booleans and `None`.
pub(crate) fn from_json<'py>(py: Python<'py>, json: &Json) -> PyResult<Bound<'py, PyAny>> {
    Ok(match json {
        Json::Null => py.None().into_bound(py),
        Json::Bool(b) => PyBool::new(py, *b).to_owned().into_any(),
        Json::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => n.into_pyobject(py)?.into_any(),
            (None, Some(n)) => n.into_pyobject(py)?.into_any(),
            (None, None) => PyFloat::new(py, n.as_f64().unwrap_or(f64::NAN)).into_any(),
        },
        Json::String(s) => PyString::new(py, s).into_any(),
        Json::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(from_json(py, item)?)?;
            }
            list.into_any()
        }
        Json::Object(fields) => {
            let dict = PyDict::new(py);
            for (key, value) in fields {
                dict.set_item(key, from_json(py, value)?)?;
            }
            dict.into_any()
        }
    })
}

/// A list or dict as one of `modelv/_views.py`, which a notebook shows as a table.
pub(crate) fn view<'py>(
    py: Python<'py>,
    class: &str,
    content: impl IntoPyObject<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let class = py.import("modelv._views")?.getattr(class)?;
    class.call1((content.into_bound_py_any(py)?,))
}

/// A parameter or metric; unlike JSON, a NaN stays a number.
pub(crate) fn from_value<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(b) => PyBool::new(py, *b).to_owned().into_any(),
        Value::Int(n) => n.into_pyobject(py)?.into_any(),
        Value::UInt(n) => n.into_pyobject(py)?.into_any(),
        Value::Float(n) => PyFloat::new(py, *n).into_any(),
        Value::Str(s) => PyString::new(py, s).into_any(),
        Value::List(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(from_value(py, item)?)?;
            }
            list.into_any()
        }
        Value::Map(fields) => {
            let dict = PyDict::new(py);
            for (key, value) in fields {
                dict.set_item(key, from_value(py, value)?)?;
            }
            dict.into_any()
        }
    })
}

/// Named values as a dict.
pub(crate) fn from_values<'py>(
    py: Python<'py>,
    values: &BTreeMap<String, Value>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in values {
        dict.set_item(key, from_value(py, value)?)?;
    }
    Ok(dict)
}

/// Takes a value apart into leaves: the keys of dicts become names with dots.
pub(crate) fn flatten(
    name: &str,
    object: &Bound<'_, PyAny>,
    out: &mut Vec<(String, Value)>,
) -> PyResult<()> {
    flatten_below(name, object, out, DEPTH_MAX)
}

fn flatten_below(
    name: &str,
    object: &Bound<'_, PyAny>,
    out: &mut Vec<(String, Value)>,
    levels: usize,
) -> PyResult<()> {
    let Ok(dict) = object.cast::<PyDict>() else {
        out.push((name.to_owned(), to_value(name, object, levels)?));
        return Ok(());
    };
    let below = levels.checked_sub(1).ok_or_else(|| too_deep(name))?;
    for (key, value) in dict {
        flatten_below(&format!("{name}.{}", key.str()?), &value, out, below)?;
    }
    Ok(())
}

/// A parameter from Python: numbers, text, paths, lists, dicts, and scalars of NumPy or a tensor
/// library. `levels` bounds the depth: a list can hold itself.
fn to_value(name: &str, object: &Bound<'_, PyAny>, levels: usize) -> PyResult<Value> {
    let below = levels.checked_sub(1).ok_or_else(|| too_deep(name))?;
    if object.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(flag) = object.cast::<PyBool>() {
        return Ok(Value::Bool(flag.is_true()));
    }
    if let Ok(float) = object.cast::<PyFloat>() {
        return Ok(Value::Float(float.extract()?));
    }
    if object.is_instance_of::<PyInt>() {
        return match (object.extract::<i64>(), object.extract::<u64>()) {
            (Ok(n), _) => Ok(Value::Int(n)),
            (Err(_), Ok(n)) => Ok(Value::UInt(n)),
            _ => Err(PyOverflowError::new_err(format!(
                "parameter `{name}` does not fit 64 bits"
            ))),
        };
    }
    if let Ok(text) = object.cast::<PyString>() {
        return Ok(Value::Str(text.to_cow()?.into_owned()));
    }
    if let Ok(dict) = object.cast::<PyDict>() {
        let mut map = BTreeMap::new();
        for (key, value) in dict {
            map.insert(
                key.str()?.to_cow()?.into_owned(),
                to_value(name, &value, below)?,
            );
        }
        return Ok(Value::Map(map));
    }
    if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
        let items = object.try_iter()?;
        let values: PyResult<Vec<Value>> = items.map(|i| to_value(name, &i?, below)).collect();
        return Ok(Value::List(values?));
    }
    if object.hasattr("__fspath__")? {
        return to_value(name, &object.call_method0("__fspath__")?, below);
    }
    if object.hasattr("item")? {
        return to_value(name, &object.call_method0("item")?, below);
    }
    let kind = object.get_type().name()?;
    Err(PyTypeError::new_err(format!(
        "parameter `{name}` is of type {kind}: expected a number, text, list or dict"
    )))
}

fn too_deep(name: &str) -> PyErr {
    PyValueError::new_err(format!("parameter `{name}` is nested more than 64 deep"))
}
