//! A restricted unpickler: a stack machine over the protocols 0 to 5 that executes nothing.
//!
//! It knows containers, numbers, texts and what PyTorch makes tensors of
//! ([`rebuild`](super::rebuild)). Every other class or function is kept as a name, and what would
//! be made with it as an [`Instance`] that holds its state and items. So a pickle's commands have
//! nothing to act on. Each instruction takes constant time for each byte it reads or object it
//! moves; all objects are charged to the heap's budget.

use std::collections::HashMap;

use bytes::Bytes;

use super::heap::{Heap, Instance, Object, Value};
use super::outcome::Outcome;
use super::reader::{Reader, long};
use super::rebuild::{persistent, reduce};

/// Reads the pickle that begins at `at`. Returns its value, and where it ends.
///
/// # Errors
/// When it is no whole pickle, or exceeds the heap's budget.
pub fn unpickle(bytes: &Bytes, at: usize, heap: &mut Heap) -> Outcome<(Value, usize)> {
    let mut machine = Machine {
        reader: Reader::new(bytes.clone(), at),
        heap,
        stack: Vec::new(),
        highest: 0,
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    loop {
        let at = machine.reader.position();
        let code = machine.reader.byte()?;
        if code == b'.' {
            let value = machine.pop()?;
            return Ok((value, machine.reader.position()));
        }
        let known = machine.constant(code)? || machine.container(code)? || machine.object(code)?;
        if !known {
            return Err(format!("it is no pickle: byte {at} is {code:#04x}"));
        }
    }
}

struct Machine<'h> {
    reader: Reader,
    heap: &'h mut Heap,
    stack: Vec<Value>,
    /// Greatest height of the stack so far.
    highest: usize,
    /// Heights of the stack at its marks.
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
}

impl Machine<'_> {
    fn push(&mut self, value: Value) -> Outcome<()> {
        if self.stack.len() == self.highest {
            self.heap.charge_references(2)?;
            self.highest += 1;
        }
        self.stack.push(value);
        Ok(())
    }

    fn add(&mut self, object: Object) -> Outcome<()> {
        let value = self.heap.add(object)?;
        self.push(value)
    }

    fn pop(&mut self) -> Outcome<Value> {
        let popped = self.stack.pop();
        popped.ok_or_else(|| "its pickle takes from an empty stack".to_string())
    }

    fn top(&self) -> Outcome<Value> {
        let top = self.stack.last();
        top.copied()
            .ok_or_else(|| "its pickle takes from an empty stack".to_string())
    }

    /// Takes all values above the last mark, and the mark.
    fn above_mark(&mut self) -> Outcome<Vec<Value>> {
        let mark = self.marks.pop();
        let mark = mark.filter(|mark| *mark <= self.stack.len());
        let mark = mark.ok_or("its pickle lacks a mark")?;
        self.take(mark)
    }

    /// Takes the last values.
    fn last<const N: usize>(&mut self) -> Outcome<Vec<Value>> {
        let at = self.stack.len().checked_sub(N);
        let at = at.ok_or("its pickle takes from an empty stack")?;
        self.take(at)
    }

    /// Takes what lies above a height, into a vector of just that size.
    fn take(&mut self, height: usize) -> Outcome<Vec<Value>> {
        self.heap.charge_references(self.stack.len() - height)?;
        Ok(self.stack.drain(height..).collect())
    }

    /// Numbers, texts and bytes. Returns whether the instruction is one of these.
    fn constant(&mut self, code: u8) -> Outcome<bool> {
        let value = match code {
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'K' => Value::Int(self.reader.number::<1>()? as i64),
            b'M' => Value::Int(self.reader.number::<2>()? as i64),
            b'J' => Value::Int(i64::from(self.reader.number::<4>()? as u32 as i32)),
            // The only numbers with the highest byte first.
            b'G' => Value::Float(f64::from_bits(self.reader.number::<8>()?.swap_bytes())),
            b'I' | b'L' | b'F' => written(code, &self.reader.line()?),
            0x8a | 0x8b => {
                let digits = if code == 0x8a {
                    self.reader.counted::<1>()?
                } else {
                    self.reader.counted::<4>()?
                };
                match long(&digits) {
                    Some(number) => Value::Int(number),
                    None => return self.add(Object::Text(digits)).map(|()| true),
                }
            }
            _ => {
                let text = match code {
                    b'S' | b'V' => self.reader.line()?,
                    b'U' | b'C' | 0x8c => self.reader.counted::<1>()?,
                    b'T' | b'B' | b'X' => self.reader.counted::<4>()?,
                    0x8d | 0x8e | 0x96 => self.reader.counted::<8>()?,
                    _ => return Ok(false),
                };
                let text = if code == b'S' { unquoted(text) } else { text };
                return self.add(Object::Text(text)).map(|()| true);
            }
        };
        self.push(value).map(|()| true)
    }

    /// Lists, tuples, sets, dictionaries, stack and memo. Returns whether the instruction is one of
    /// these.
    fn container(&mut self, code: u8) -> Outcome<bool> {
        match code {
            b'(' => {
                self.heap.charge_references(1)?;
                self.marks.push(self.stack.len());
            }
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.above_mark()?;
            }
            b'2' => self.push(self.top()?)?,
            b']' => self.add(Object::List(Vec::new()))?,
            b'}' => self.add(Object::Dict(Vec::new()))?,
            b')' => self.add(Object::Tuple(Vec::new()))?,
            0x8f => self.add(Object::Set(Vec::new()))?,
            b'l' => {
                let items = self.above_mark()?;
                self.add(Object::List(items))?;
            }
            b't' => {
                let items = self.above_mark()?;
                self.add(Object::Tuple(items))?;
            }
            0x91 => {
                let items = self.above_mark()?;
                self.add(Object::Set(items))?;
            }
            b'd' => {
                let items = self.above_mark()?;
                self.add(Object::Dict(pairs(&items)))?;
            }
            0x85 => self.tuple::<1>()?,
            0x86 => self.tuple::<2>()?,
            0x87 => self.tuple::<3>()?,
            b'a' => {
                let items = self.last::<1>()?;
                self.append(items)?;
            }
            b'e' | 0x90 => {
                let items = self.above_mark()?;
                self.append(items)?;
            }
            b's' => {
                let items = self.last::<2>()?;
                self.set(&items)?;
            }
            b'u' => {
                let items = self.above_mark()?;
                self.set(&items)?;
            }
            _ => return self.memo(code),
        }
        Ok(true)
    }

    fn tuple<const N: usize>(&mut self) -> Outcome<()> {
        let items = self.last::<N>()?;
        self.add(Object::Tuple(items))
    }

    /// Appends to the sequence on top of the stack; others do not keep what is appended.
    fn append(&mut self, mut more: Vec<Value>) -> Outcome<()> {
        let top = self.top()?;
        if let Some(Object::List(items) | Object::Set(items)) = self.heap.get_mut(top) {
            items.append(&mut more);
        }
        Ok(())
    }

    /// Sets items of the dictionary on top of the stack.
    fn set(&mut self, items: &[Value]) -> Outcome<()> {
        let top = self.top()?;
        match self.heap.get_mut(top) {
            Some(Object::Dict(entries)) => entries.extend(pairs(items)),
            Some(Object::Instance(it)) => it.items.extend(pairs(items)),
            _ => {}
        }
        Ok(())
    }

    /// The memo, and what only frames the pickle.
    fn memo(&mut self, code: u8) -> Outcome<bool> {
        match code {
            b'p' | b'q' | b'r' | 0x94 => {
                let index = match code {
                    b'q' => self.reader.number::<1>()?,
                    b'r' => self.reader.number::<4>()?,
                    b'p' => index(&self.reader.line()?)?,
                    _ => self.memo.len() as u64,
                };
                let top = self.top()?;
                if self.memo.insert(index, top).is_none() {
                    self.heap.charge_references(4)?;
                }
            }
            b'g' | b'h' | b'j' => {
                let index = match code {
                    b'h' => self.reader.number::<1>()?,
                    b'j' => self.reader.number::<4>()?,
                    _ => index(&self.reader.line()?)?,
                };
                let known = self.memo.get(&index).copied();
                self.push(known.ok_or("its pickle refers to an object that it does not hold")?)?;
            }
            0x80 => {
                let protocol = self.reader.byte()?;
                if protocol > 5 {
                    return Err(format!("it is a pickle of the unknown protocol {protocol}"));
                }
            }
            0x95 => {
                self.reader.number::<8>()?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Classes, functions and what they would make. Returns whether the instruction is one of
    /// these.
    fn object(&mut self, code: u8) -> Outcome<bool> {
        match code {
            b'c' => {
                let (module, name) = (self.reader.line()?, self.reader.line()?);
                self.add(Object::Global(module, name))?;
            }
            0x93 => {
                let names = self.last::<2>()?;
                let text = |value: &Value| match self.heap.get(*value) {
                    Some(Object::Text(text)) => text.clone(),
                    _ => Bytes::new(),
                };
                let global = Object::Global(text(&names[0]), text(&names[1]));
                self.add(global)?;
            }
            b'b' => {
                let state = self.pop()?;
                let top = self.top()?;
                if let Some(Object::Instance(it)) = self.heap.get_mut(top) {
                    it.state = state;
                }
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = persistent(self.heap, id)?;
                self.push(storage)?;
            }
            // Registered extensions and persistent names mean nothing here.
            b'P' => {
                self.reader.line()?;
                self.push(Value::None)?;
            }
            0x82 => self.extension::<1>()?,
            0x83 => self.extension::<2>()?,
            0x84 => self.extension::<4>()?,
            0x97 => self.push(Value::None)?,
            0x98 => {}
            _ => return self.made(code),
        }
        Ok(true)
    }

    /// What a class or function would make of its arguments.
    fn made(&mut self, code: u8) -> Outcome<bool> {
        match code {
            b'R' | 0x81 | 0x92 => {
                if code == 0x92 {
                    // Arguments with names come last.
                    self.pop()?;
                }
                let arguments = self.pop()?;
                let callable = self.pop()?;
                let made = reduce(self.heap, callable, arguments)?;
                self.push(made)?;
            }
            b'i' => {
                let (module, name) = (self.reader.line()?, self.reader.line()?);
                self.above_mark()?;
                let class = self.heap.add(Object::Global(module, name))?;
                self.instance(class)?;
            }
            b'o' => {
                let class = self.above_mark()?.first().copied();
                self.instance(class.unwrap_or(Value::None))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extension<const N: usize>(&mut self) -> Outcome<()> {
        self.reader.number::<N>()?;
        self.push(Value::None)
    }

    fn instance(&mut self, class: Value) -> Outcome<()> {
        self.add(Object::Instance(Instance {
            class,
            state: Value::None,
            items: Vec::new(),
        }))
    }
}

/// Keys and values in turn, as pairs.
fn pairs(items: &[Value]) -> Vec<(Value, Value)> {
    let pairs = items.chunks_exact(2);
    pairs.map(|pair| (pair[0], pair[1])).collect()
}

/// A number of protocol 0, written in digits.
fn written(code: u8, line: &[u8]) -> Value {
    let text = std::str::from_utf8(line).unwrap_or_default();
    let text = text.trim_end_matches(['L', '\r']);
    match (code, text) {
        (b'I', "00") => Value::Bool(false),
        (b'I', "01") => Value::Bool(true),
        (b'F', _) => text.parse().map_or(Value::None, Value::Float),
        _ => text.parse().map_or(Value::None, Value::Int),
    }
}

/// An index of the memo, written in digits.
fn index(line: &[u8]) -> Outcome<u64> {
    let text = std::str::from_utf8(line).unwrap_or_default();
    let number = text.trim_end().parse();
    number.map_err(|_| "its pickle refers to an object that it does not hold".to_string())
}

/// A text of protocol 0 without its quotation marks.
fn unquoted(text: Bytes) -> Bytes {
    match text.first() {
        Some(quote @ (b'\'' | b'"')) if text.len() > 1 && text.last() == Some(quote) => {
            text.slice(1..text.len() - 1)
        }
        _ => text,
    }
}
