//! What operators and functions do with values.

use std::cmp::Ordering;

use crate::expr::ast::{Function, Op};
use crate::expr::{ExprErrorKind, STRING_BYTES_MAX, Type, Value};
use crate::params::{TWO_63, compare_int};

/// A fault without its place, which the caller knows.
pub(super) type Fault = (ExprErrorKind, String);

fn mismatch(op: Op, left: Type, right: Type) -> Fault {
    (ExprErrorKind::Type, format!("`{}` between {left} and {right}", op.symbol()))
}

/// The type of `left op right`; `Any` goes with everything.
pub(super) fn binary_type(op: Op, left: Type, right: Type) -> Result<Type, Fault> {
    use Type::{Any, Bool, Float, Int, List, String};
    let numeric = |t: Type| matches!(t, Int | Float | Any);
    let both = |a: Type| (left == a || left == Any) && (right == a || right == Any);
    let numbers = numeric(left) && numeric(right);
    let result = match op {
        Op::Or | Op::And => both(Bool).then_some(Bool),
        Op::Equal | Op::NotEqual => (numbers || both(left) || both(right)).then_some(Bool),
        Op::Less | Op::LessEqual | Op::Greater | Op::GreaterEqual => {
            (numbers || both(String)).then_some(Bool)
        }
        Op::In => matches!(right, List | Any).then_some(Bool),
        Op::Remainder => both(Int).then_some(Int),
        Op::Add | Op::Subtract | Op::Multiply | Op::Divide => match (left, right) {
            (Int, Int) => Some(Int),
            (Int | Float, Int | Float) => Some(Float),
            (String, String) if op == Op::Add => Some(String),
            (Any, Int | Float | Any) | (Int | Float, Any) => Some(Any),
            (Any, String) | (String, Any) if op == Op::Add => Some(String),
            _ => None,
        },
    };
    result.ok_or_else(|| mismatch(op, left, right))
}

/// The order of two values; `None` beside NaN.
fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Float(b)) => compare_int(*a, *b),
        (Value::Float(a), Value::Int(b)) => compare_int(*b, *a).map(Ordering::reverse),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        _ => compare(left, right) == Some(Ordering::Equal),
    }
}

/// `left op right`. `&&` and `||` are decided by the evaluator, which may skip the right side.
pub(super) fn binary(op: Op, left: Value, right: Value) -> Result<Value, Fault> {
    binary_type(op, left.kind(), right.kind())?;
    let order =
        |accept: fn(Ordering) -> bool| Ok(Value::Bool(compare(&left, &right).is_some_and(accept)));
    match op {
        Op::Equal => Ok(Value::Bool(equal(&left, &right))),
        Op::NotEqual => Ok(Value::Bool(!equal(&left, &right))),
        Op::Less => order(Ordering::is_lt),
        Op::LessEqual => order(Ordering::is_le),
        Op::Greater => order(Ordering::is_gt),
        Op::GreaterEqual => order(Ordering::is_ge),
        Op::In => match &right {
            Value::List(items) => Ok(Value::Bool(items.iter().any(|item| equal(&left, item)))),
            other => Err(mismatch(op, left.kind(), other.kind())),
        },
        Op::Or | Op::And => match (left, right) {
            (Value::Bool(a), Value::Bool(b)) => {
                Ok(Value::Bool(if op == Op::Or { a || b } else { a && b }))
            }
            (left, right) => Err(mismatch(op, left.kind(), right.kind())),
        },
        Op::Add | Op::Subtract | Op::Multiply | Op::Divide | Op::Remainder => {
            arithmetic(op, left, right)
        }
    }
}

fn arithmetic(op: Op, left: Value, right: Value) -> Result<Value, Fault> {
    match (left, right) {
        (Value::String(mut a), Value::String(b)) if op == Op::Add => {
            if a.len() + b.len() > STRING_BYTES_MAX {
                return Err((ExprErrorKind::Limit, too_long()));
            }
            a.push_str(&b);
            Ok(Value::String(a))
        }
        (Value::Int(a), Value::Int(b)) => {
            let result = match op {
                Op::Add => a.checked_add(b),
                Op::Subtract => a.checked_sub(b),
                Op::Multiply => a.checked_mul(b),
                Op::Divide => a.checked_div(b),
                _ => a.checked_rem(b),
            };
            result.map(Value::Int).ok_or_else(|| arithmetic_fault(op, b == 0))
        }
        (left, right) => {
            let kinds = (left.kind(), right.kind());
            let (Some(a), Some(b)) = (as_float(&left), as_float(&right)) else {
                return Err(mismatch(op, kinds.0, kinds.1));
            };
            let result = match op {
                Op::Add => a + b,
                Op::Subtract => a - b,
                Op::Multiply => a * b,
                Op::Divide if b == 0.0 => return Err(arithmetic_fault(op, true)),
                Op::Divide => a / b,
                _ => return Err(mismatch(op, kinds.0, kinds.1)),
            };
            // A metric may be NaN or infinite; a calculation does not become so by itself.
            if !result.is_finite() && a.is_finite() && b.is_finite() {
                return Err(arithmetic_fault(op, false));
            }
            Ok(Value::Float(result))
        }
    }
}

fn arithmetic_fault(op: Op, zero: bool) -> Fault {
    let divides = matches!(op, Op::Divide | Op::Remainder);
    let message = if zero && divides {
        "a division by zero".to_owned()
    } else {
        format!("the result of `{}` does not fit", op.symbol())
    };
    (ExprErrorKind::Arithmetic, message)
}

fn too_long() -> String {
    format!("a string grew beyond {STRING_BYTES_MAX} bytes")
}

/// The nearest float.
fn as_float(value: &Value) -> Option<f64> {
    match value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        Value::Bool(_) | Value::String(_) | Value::List(_) => None,
    }
}

/// The type of a call, its arguments counted by the parser.
pub(super) fn call_type(function: Function, arguments: &[Type]) -> Result<Type, Fault> {
    use Type::{Any, Bool, Float, Int, List, String};
    let (allowed, result): (&[Type], Type) = match function {
        Function::Size => (&[String, List], Int),
        Function::StartsWith | Function::EndsWith | Function::Contains => (&[String], Bool),
        Function::ToInt => (&[Int, Float, String], Int),
        Function::ToFloat => (&[Int, Float, String], Float),
        Function::ToString => (&[Bool, Int, Float, String], String),
    };
    match arguments.iter().find(|kind| **kind != Any && !allowed.contains(kind)) {
        None => Ok(result),
        Some(kind) => {
            let name = Function::ALL.iter().find(|(_, f)| *f == function).map_or("", |(n, _)| n);
            Err((ExprErrorKind::Type, format!("`{name}` of {kind}")))
        }
    }
}

/// The value of a call.
pub(super) fn call(function: Function, arguments: &[Value]) -> Result<Value, Fault> {
    let kinds: Vec<_> = arguments.iter().map(Value::kind).collect();
    call_type(function, &kinds)?;
    let convert = |text: String| (ExprErrorKind::Arithmetic, text);
    Ok(match (function, arguments) {
        (Function::Size, [Value::String(text)]) => Value::Int(count(text.chars().count())),
        (Function::Size, [Value::List(items)]) => Value::Int(count(items.len())),
        (Function::StartsWith, [Value::String(a), Value::String(b)]) => {
            Value::Bool(a.starts_with(b.as_str()))
        }
        (Function::EndsWith, [Value::String(a), Value::String(b)]) => {
            Value::Bool(a.ends_with(b.as_str()))
        }
        (Function::Contains, [Value::String(a), Value::String(b)]) => {
            Value::Bool(a.contains(b.as_str()))
        }
        (Function::ToInt, [Value::Int(value)]) => Value::Int(*value),
        (Function::ToInt, [Value::Float(value)]) => {
            // Truncates; what lies within the bounds fits.
            if !(-TWO_63..TWO_63).contains(value) {
                return Err(convert(format!("`{value}` does not fit an int")));
            }
            Value::Int(*value as i64)
        }
        (Function::ToInt, [Value::String(text)]) => {
            let value = text.trim().parse().map_err(|_| convert(format!("{text:?} is no int")))?;
            Value::Int(value)
        }
        (Function::ToFloat, [Value::String(text)]) => {
            let value = crate::read::parse_float(text.trim());
            Value::Float(value.ok_or_else(|| convert(format!("{text:?} is no float")))?)
        }
        (Function::ToFloat, [value]) => match as_float(value) {
            Some(value) => Value::Float(value),
            None => return Err(convert("this is no float".into())),
        },
        (Function::ToString, [value]) => Value::String(text_of(value)?),
        _ => return Err((ExprErrorKind::Type, "the call has the wrong number of values".into())),
    })
}

fn count(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A value as text, as `string()` and `${{ }}` write it.
pub(super) fn text_of(value: &Value) -> Result<String, Fault> {
    Ok(match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
        Value::String(value) => value.clone(),
        Value::List(_) => return Err((ExprErrorKind::Type, "a list has no text".into())),
    })
}
