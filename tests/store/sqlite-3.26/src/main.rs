//! Runs the queries on standard input, a JSON array of texts, on the database named by the argument, and
//! prints an array with the rows of each. Fails unless the linked SQLite is 3.26.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, NO_PARAMS, OpenFlags, Row};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    assert_eq!(rusqlite::version(), "3.26.0");
    let path = std::env::args().nth(1).ok_or("the path of a database is missing")?;
    let queries: Vec<String> = serde_json::from_reader(std::io::stdin())?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(path, flags)?;
    let results = queries.iter().map(|query| {
        let mut statement =
            connection.prepare(query).map_err(|error| format!("{error}\n{query}"))?;
        let columns = statement.column_count();
        let rows = statement.query_map(NO_PARAMS, |row: &Row| {
            (0..columns).map(|column| to_json(row.get_raw(column))).collect::<Vec<_>>()
        });
        let rows: Result<Vec<_>, _> = rows.map_err(|error| error.to_string())?.collect();
        rows.map(|rows| json!(rows)).map_err(|error| format!("{error}\n{query}"))
    });
    let results: Vec<Value> = results.collect::<Result<_, String>>()?;
    println!("{}", json!(results));
    Ok(())
}

fn to_json(value: ValueRef) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => json!(number),
        ValueRef::Real(number) => json!(number),
        ValueRef::Text(text) => json!(text),
        ValueRef::Blob(bytes) => json!(bytes),
    }
}
