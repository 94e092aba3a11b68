//! What PyTorch's and Python's own functions make in a pickle, without calling them.

use super::heap::{Heap, Instance, Object, Value};
use super::outcome::Outcome;
use super::view::{Element, Storage, View};

/// The type of tensors that `pickle.dump` wrote: their elements are pickles of their own.
pub const PICKLED: &str = "pickled";

/// How often a subclass may wrap what makes a tensor.
const MOST_WRAPPERS: usize = 8;

/// What a function or class makes of its arguments: a container, a tensor, or an instance of an
/// unknown class.
///
/// # Errors
/// When a tensor is described wrongly, or the budget is used up.
pub fn reduce(heap: &mut Heap, callable: Value, arguments: Value) -> Outcome<Value> {
    let (mut callable, mut arguments) = (callable, arguments);
    for _ in 0..MOST_WRAPPERS {
        let Some(name) = heap.global(callable) else {
            break;
        };
        let given = heap.sequence(arguments).unwrap_or_default();
        let first = given.first().copied().unwrap_or(Value::None);
        match name.as_str() {
            // A subclass of Tensor: a function, the class, the function's arguments, a state.
            "torch._tensor._rebuild_from_type_v2" | "torch._tensor._rebuild_from_type" => {
                let inner = given.get(2).copied().unwrap_or(Value::None);
                (callable, arguments) = (first, inner);
            }
            "torch._utils._rebuild_parameter"
            | "torch._utils._rebuild_parameter_with_state"
            | "torch._utils._rebuild_device_tensor_from_cpu_tensor"
            | "torch.nn.parameter.Parameter"
            | "torch.nn.parameter.Buffer" => return Ok(first),
            "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor" => {
                return strided(heap, arguments, None);
            }
            "torch._utils._rebuild_tensor_v3" => {
                let element = given.get(6).and_then(|dtype| heap.global(*dtype));
                let name = element.as_deref().unwrap_or_default();
                let element = Element::of_dtype(name.trim_start_matches("torch."));
                return strided(
                    heap,
                    arguments,
                    element.or(Some(Element::unreadable("unknown"))),
                );
            }
            // `copyreg._reconstructor(class, base, state)`, the way of the protocols 0 and 1.
            "copyreg._reconstructor" | "copy_reg._reconstructor" => {
                return instance(heap, first);
            }
            name => {
                let made = known(heap, name, arguments)?;
                return made.map_or_else(|| instance(heap, callable), Ok);
            }
        }
    }
    instance(heap, callable)
}

/// What a known function or class without an inner one makes; `None` for others.
fn known(heap: &mut Heap, name: &str, arguments: Value) -> Outcome<Option<Value>> {
    let first = heap.sequence(arguments).and_then(|given| given.first());
    let first = first.copied().unwrap_or(Value::None);
    let made = match name {
        "torch._utils._rebuild_qtensor" => unreadable(heap, arguments, "quantized")?,
        "torch._utils._rebuild_sparse_tensor" => unreadable(heap, Value::None, "sparse")?,
        "torch._utils._rebuild_meta_tensor_no_storage" => unreadable(heap, Value::None, "meta")?,
        "collections.OrderedDict"
        | "collections.defaultdict"
        | "collections.Counter"
        | "builtins.dict"
        | "__builtin__.dict" => dictionary(heap, arguments)?,
        "builtins.set" | "__builtin__.set" | "builtins.frozenset" | "__builtin__.frozenset" => {
            let items = heap.sequence(first).unwrap_or_default().to_vec();
            heap.charge_references(items.len())?;
            heap.add(Object::Set(items))?
        }
        "torch.Size" | "builtins.tuple" | "builtins.list" if heap.sequence(first).is_some() => {
            first
        }
        _ => return Ok(None),
    };
    Ok(Some(made))
}

fn instance(heap: &mut Heap, class: Value) -> Outcome<Value> {
    heap.add(Object::Instance(Instance {
        class,
        state: Value::None,
        items: Vec::new(),
    }))
}

/// A dictionary, perhaps of a list of pairs.
fn dictionary(heap: &mut Heap, arguments: Value) -> Outcome<Value> {
    let last = heap.sequence(arguments).and_then(|given| given.last());
    let given = last.copied().unwrap_or(Value::None);
    let entries: Vec<(Value, Value)> = match heap.get(given) {
        Some(Object::Dict(entries)) => entries.clone(),
        _ => {
            let items = heap.sequence(given).unwrap_or_default().iter();
            let pair = |item: &Value| match heap.sequence(*item) {
                Some(&[key, value]) => Some((key, value)),
                _ => None,
            };
            items.filter_map(pair).collect()
        }
    };
    let scanned = heap.sequence(given).map_or(0, <[Value]>::len);
    heap.charge_references(2 * entries.len() + scanned)?;
    heap.add(Object::Dict(entries))
}

/// A tensor of a storage, an offset, a shape and strides.
fn strided(heap: &mut Heap, arguments: Value, element: Option<Element>) -> Outcome<Value> {
    // What is to be known beside them comes last. The imaginary part of a conjugate is stored without
    // its sign.
    let last = heap.sequence(arguments).and_then(|given| given.last());
    let last = last.copied().unwrap_or(Value::None);
    heap.charge_references(heap.entries(last).map_or(0, <[_]>::len))?;
    if heap.entry(last, "neg") == Some(Value::Bool(true)) {
        return unreadable(heap, arguments, "negated");
    }
    let wrong = || "it describes a tensor in an unknown way".to_string();
    let Some(&[storage, offset, shape, strides, ..]) = heap.sequence(arguments) else {
        return Err(wrong());
    };
    let storage = match heap.get(storage) {
        Some(Object::Storage(storage)) => (**storage).clone(),
        // What `pickle.dump` writes holds the bytes of each storage as a file in itself.
        _ => return unreadable(heap, Value::None, PICKLED),
    };
    let shape = numbers(heap, shape).ok_or_else(wrong)?;
    let strides = numbers(heap, strides).ok_or_else(wrong)?;
    let Value::Int(offset @ 0..) = offset else {
        return Err(wrong());
    };
    let size = |&axis: &u64| usize::try_from(axis).ok();
    let view = View {
        element: element.unwrap_or(storage.element),
        storage: Some(storage),
        offset: offset as u64,
        shape: shape
            .iter()
            .map(size)
            .collect::<Option<_>>()
            .ok_or_else(wrong)?,
        strides,
    };
    heap.charge_references(2 * view.shape.len())?;
    heap.charge(size_of::<View>())?;
    heap.add(Object::Tensor(Box::new(view)))
}

/// Numbers of a tuple or list, none negative.
fn numbers(heap: &Heap, value: Value) -> Option<Vec<u64>> {
    let items = heap.sequence(value)?;
    // A tensor has few axes; more would be copied in vain.
    let few = items.len() <= 64;
    let number = |item: &Value| match item {
        Value::Int(number @ 0..) => Some(*number as u64),
        _ => None,
    };
    few.then(|| items.iter().map(number).collect())?
}

/// A tensor whose elements are not read.
fn unreadable(heap: &mut Heap, arguments: Value, what: &'static str) -> Outcome<Value> {
    let given = heap.sequence(arguments).unwrap_or_default();
    let shape = given.get(2).and_then(|shape| numbers(heap, *shape));
    let shape = shape.unwrap_or_default();
    let view = View {
        storage: None,
        element: Element::unreadable(what),
        offset: 0,
        shape: shape.iter().map(|&axis| axis as usize).collect(),
        strides: Vec::new(),
    };
    heap.charge(size_of::<View>())?;
    heap.add(Object::Tensor(Box::new(view)))
}

/// What a persistent id stands for: a storage, or (in the legacy format) a module's class.
///
/// # Errors
/// When a storage is described wrongly, or the budget is used up.
pub fn persistent(heap: &mut Heap, id: Value) -> Outcome<Value> {
    let given = heap.sequence(id).unwrap_or_default();
    match given {
        [kind, class, ..] if heap.is_text(*kind, "module") => Ok(*class),
        [kind, class, key, _, len, rest @ ..] if heap.is_text(*kind, "storage") => {
            let wrong = || "it describes a storage in an unknown way".to_string();
            let name = heap.global(*class).unwrap_or_default();
            let class = name.rsplit('.').next().unwrap_or_default();
            let element = Element::of_storage(class);
            let element =
                element.ok_or_else(|| format!("it holds a storage of the unknown type {name}"))?;
            let (Some(Object::Text(key)), Value::Int(len @ 0..)) = (heap.get(*key), *len) else {
                return Err(wrong());
            };
            let storage = Storage {
                key: key.clone(),
                element,
                len: len as u64,
                part: part(heap, rest.first().copied()),
            };
            heap.charge(size_of::<Storage>())?;
            heap.add(Object::Storage(Box::new(storage)))
        }
        _ => Ok(Value::None),
    }
}

/// The part of a storage that a legacy file means: key, first element, number of elements.
fn part(heap: &Heap, view: Option<Value>) -> Option<(u64, u64)> {
    match heap.sequence(view?)? {
        [_, Value::Int(first @ 0..), Value::Int(len @ 0..), ..] => {
            Some((*first as u64, *len as u64))
        }
        _ => None,
    }
}
