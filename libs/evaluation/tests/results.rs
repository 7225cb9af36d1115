//! The results contract: what a file is understood as, and what is refused.

use runyard_evaluation::results::{
    ErrorRows, Missing, Results, ResultsError, ResultsOptions, Table, parse,
};

fn read(name: &str, text: &str) -> Result<Results, ResultsError> {
    parse(&[(name, text.as_bytes())], &ResultsOptions::default())
}

fn rows_of(results: Result<Results, ResultsError>) -> Table {
    match results.expect("understood") {
        Results::Rows(table) => table,
        Results::Flat(flat) => panic!("rows, not {flat:?}"),
    }
}

fn table(name: &str, text: &str) -> Table {
    rows_of(read(name, text))
}

fn values<'a>(table: &'a Table, metric: &str) -> &'a [f64] {
    &table.metric(metric).unwrap_or_else(|| panic!("no {metric}")).values
}

fn refusal(name: &str, text: &str) -> String {
    read(name, text).expect_err("refused").to_string()
}

#[test]
fn csv_and_jsonl_mean_the_same() {
    let csv = table("r.csv", "id,y_true,y_pred,ms,country\nb,1,0,3.5,de\na,7,7,2,fr\n");
    let json = table(
        "r.jsonl",
        "{\"id\":\"a\",\"y_true\":7,\"y_pred\":7.0,\"ms\":2,\"country\":\"fr\"}\n\
         {\"id\":\"b\",\"y_true\":1,\"y_pred\":0,\"ms\":3.5,\"country\":\"de\"}\n",
    );
    assert_eq!(csv.ids(), ["a", "b"]);
    assert_eq!(values(&csv, "accuracy"), [1.0, 0.0]);
    assert_eq!(values(&csv, "ms"), [2.0, 3.5]);
    assert_eq!(csv.slices()["country"], ["fr", "de"]);
    assert_eq!(csv.set_digest(), json.set_digest());
    assert_eq!(csv.digest(), json.digest());
}

#[test]
fn every_id_alias_and_the_override() {
    for id in ["example_id", "id", "doc_id", "sample_id"] {
        assert_eq!(table("r.csv", &format!("{id},correct\n1,1\n2,0\n")).len(), 2);
    }
    let options = ResultsOptions { id: Some("key".to_owned()), ..ResultsOptions::default() };
    let bytes: &[u8] = b"id,key,correct\n1,x,1\n1,y,0\n";
    let table = rows_of(parse(&[("r.csv", bytes)], &options));
    assert_eq!(table.ids(), ["x", "y"]);
    let wrong = ResultsOptions { id: Some("nope".to_owned()), ..ResultsOptions::default() };
    let message = parse(&[("r.csv", bytes)], &wrong).expect_err("refused").to_string();
    assert_eq!(message, "r.csv: the id column `nope` is not there. Columns: correct, id, key");
}

#[test]
fn refusals_name_place_and_remedy() {
    let message = refusal("r.csv", "correct,x\n1,2\n");
    assert!(message.contains("no column names the example") && message.contains("correct, x"));
    assert!(message.contains("id: COLUMN"));
    assert_eq!(
        refusal("r.csv", "id,correct\na,1\n,0\n"),
        "r.csv, row 2: `id` is empty; every row needs the id of its example"
    );
    let message = refusal("r.csv", "id,correct\na,1\na,0\nb,1\nb,1\nc,1\n");
    assert!(message.starts_with("2 examples have more than one row (a, b)."), "{message}");
    assert!(refusal("r.parquet", "PAR1").contains("parquet is not built yet"));
    assert!(
        refusal("r.csv", "id,y_true,sample\na,1,1\na,2,2\n").contains("two values of `y_true`")
    );
    assert!(
        refusal("r.csv", "id,x,weight\na,1,1\nb,1,-2\n").contains("weight -2 is not a positive")
    );
    assert_eq!(parse(&[], &ResultsOptions::default()), Err(ResultsError::NoFile));
}

#[test]
fn derived_metrics_follow_the_kind_of_prediction() {
    let labels = table("r.csv", "id,label,prediction\n1,cat,cat\n2,dog,cat\n");
    assert_eq!(values(&labels, "correct"), [1.0, 0.0]);
    assert!(labels.metric("absolute_error").is_none());
    let numbers = table("r.csv", "id,y_true,y_pred\n1,1.5,2\n2,3,1.25\n");
    assert!(numbers.metric("correct").is_none());
    assert_eq!(values(&numbers, "mae"), [0.5, 1.75]);
    assert_eq!(values(&numbers, "mse"), [0.25, 3.0625]);
    let scores = table("r.csv", "id,y_true,y_score\n1,1,0.8\n2,0,0.6\n");
    assert_eq!(values(&scores, "correct"), [1.0, 0.0]);
    assert!((values(&scores, "brier")[0] - 0.04).abs() < 1e-12);
    assert!((values(&scores, "log_loss")[1] + 0.4_f64.ln()).abs() < 1e-12);
    let classes =
        table("r.csv", "id,y_true,proba_a,proba_b\n1,a,0.7,0.3\n2,b,0.6,0.4\n3,c,0.6,0.4\n");
    assert_eq!(values(&classes, "correct")[..2], [1.0, 0.0]);
    assert!(values(&classes, "correct")[2].is_nan(), "class c has no column");
    assert!((values(&classes, "brier")[0] - 0.18).abs() < 1e-12);
    // What the file says wins over what could be derived.
    let own = table("r.csv", "id,y_true,y_pred,correct\n1,1,1,0\n2,1,1,0\n");
    assert_eq!(values(&own, "correct"), [0.0, 0.0]);
}

#[test]
fn error_rows_are_zero_dropped_or_refused() {
    let text = "id,correct,error\na,1,\nb,,timeout\nc,1,\n";
    let zero = table("r.csv", text);
    assert_eq!(values(&zero, "correct"), [1.0, 0.0, 1.0]);
    assert_eq!(zero.notes().error_rows, 1);
    let with = |error_rows| {
        let options = ResultsOptions { error_rows, ..ResultsOptions::default() };
        parse(&[("r.csv", text.as_bytes())], &options)
    };
    let dropped = rows_of(with(ErrorRows::Drop));
    assert_eq!(dropped.ids(), ["a", "b", "c"], "the join stays total");
    assert!(values(&dropped, "correct")[1].is_nan());
    let message = with(ErrorRows::Fail).expect_err("refused").to_string();
    assert_eq!(message, "1 rows have no answer (b), and `error-rows: fail` refuses them");
    // No answer is a wrong answer, but never an error of 0.
    let numbers = table("r.csv", "id,y_true,y_pred,error\na,1.5,1,\nb,2.5,,timeout\n");
    assert!(values(&numbers, "mae")[1].is_nan());
}

#[test]
fn samples_and_seeds_are_averaged_per_example() {
    let text = "id,sample,seed,correct\na,0,1,1\na,1,1,0\na,0,2,1\na,1,2,1\nb,0,1,1\n";
    let table = table("r.csv", text);
    assert_eq!(values(&table, "correct"), [0.75, 1.0]);
    assert_eq!(table.notes().rows_per_example_max, 4);
    assert_eq!(table.notes().seeds.len(), 2);
    assert!(!table.metric("correct").expect("there").binary);
}

#[test]
fn a7_extreme_values_are_kept_as_what_they_are() {
    let table = table(
        "r.jsonl",
        "{\"id\":1,\"x\":NaN}\n{\"id\":2,\"x\":1e309}\n{\"id\":3,\"x\":-Infinity}",
    );
    assert!(values(&table, "x")[0].is_nan());
    assert_eq!(values(&table, "x")[1..], [f64::INFINITY, f64::NEG_INFINITY]);
    let long = "i".repeat(2000);
    assert!(refusal("r.csv", &format!("id,x\n{long},1\n")).contains("an id of 2000 bytes"));
}

#[test]
fn lm_evaluation_harness_samples_work_unmodified() {
    let gsm = r#"{"doc_id":0,"doc":{"question":"?"},"target":"4","resps":[["4"]],"filter":"strict","metrics":["exact_match"],"target_hash":"h0","exact_match":1.0}
{"doc_id":1,"doc":{"question":"?"},"target":"5","resps":[["6"]],"filter":"strict","metrics":["exact_match"],"target_hash":"h1","exact_match":0.0}
{"doc_id":0,"doc":{"question":"?"},"target":"4","resps":[["4"]],"filter":"flexible","metrics":["exact_match"],"target_hash":"h0","exact_match":1.0}
{"doc_id":1,"doc":{"question":"?"},"target":"5","resps":[["6"]],"filter":"flexible","metrics":["exact_match"],"target_hash":"h1","exact_match":1.0}"#;
    let arc =
        r#"{"doc_id":0,"target":1,"filter":"none","target_hash":"h9","acc":1.0,"acc_norm":0.0}"#;
    let options = ResultsOptions::default();
    let files = [
        ("out/samples_gsm8k_2024-05-01T12-00-00.1.jsonl", gsm.as_bytes()),
        ("out/samples_arc_easy_2024-05-01T12-00-00.1.jsonl", arc.as_bytes()),
    ];
    let table = rows_of(parse(&files, &options));
    assert_eq!(table.ids(), ["arc_easy/0", "gsm8k/0", "gsm8k/1"]);
    assert_eq!(values(&table, "exact_match,strict")[1..], [1.0, 0.0]);
    assert_eq!(values(&table, "exact_match,flexible")[1..], [1.0, 1.0]);
    assert_eq!(values(&table, "acc_norm,none")[0], 0.0);
    assert_eq!(table.slices()["task"], ["arc_easy", "gsm8k", "gsm8k"]);

    let twice = [
        ("samples_t_2024-05-01T12-00-00.1.jsonl", arc.as_bytes()),
        ("samples_t_2024-05-02T12-00-00.1.jsonl", arc.as_bytes()),
    ];
    let message = parse(&twice, &options).expect_err("refused").to_string();
    assert!(message.contains("two results of task t"), "{message}");
}

#[test]
fn mlflow_tables_and_flat_metrics() {
    let text = r#"{"columns":["id","correct"],"data":[["a",true],["b",false]]}"#;
    assert_eq!(values(&table("eval_results_table.json", text), "correct"), [1.0, 0.0]);
    match read("metrics.json", r#"{"acc":0.9,"name":"x","bad":NaN}"#).expect("understood") {
        Results::Flat(flat) => {
            assert_eq!(flat.values["acc"], 0.9);
            assert_eq!(flat.not_finite, ["bad"]);
        }
        Results::Rows(_) => panic!("numbers only"),
    }
    // Rows beside a flat file say more.
    let files: [(&str, &[u8]); 2] =
        [("metrics.json", b"{\"acc\":0.9}"), ("r.csv", b"id,correct\na,1\nb,0\n")];
    assert_eq!(rows_of(parse(&files, &ResultsOptions::default())).len(), 2);
}

#[test]
fn the_set_digest_sees_ids_and_targets_only() {
    let of = |text| table("r.csv", text).set_digest();
    let base = of("id,y_true,y_pred\na,1,1\nb,0,0\n");
    assert_eq!(base, of("id,y_true,y_pred,x\nb,0,1,7\na,1,0,8\n"));
    assert_ne!(base, of("id,y_true,y_pred\na,1,1\nc,0,0\n"));
    assert_ne!(base, of("id,y_true,y_pred\na,1,1\nb,1,0\n"));
}

#[test]
fn check_says_what_was_understood_and_what_can_be_seen() {
    let mut text = "id,y_true,y_pred,country,doc\n".to_owned();
    for i in 0..164 {
        text.push_str(&format!("{i},1,{},de,[]\n", u8::from(i % 5 != 0)));
    }
    let table = table("r.csv", &text);
    let description = table.describe(None);
    assert_eq!(description.examples, 164);
    let mde = description.metrics["correct"].detectable.expect("for 0/1 values");
    assert!((mde - 0.069).abs() < 0.0005, "{mde}");
    let text = description.render_text();
    assert!(text.contains("164 examples cannot show a drop under 6.9 points"), "{text}");
    assert!(text.contains("a margin of 1 point needs about 7847"), "{text}");
    let pair = table.describe(Some(&table)).pair.expect("a pair");
    assert!(pair.same_set && pair.discordance["correct"] == 0.0);
    let grouped = rows_of(read("r.csv", &{
        let rows: String = (0..40).map(|i| format!("doc{}_{},1\n", i / 4, i % 4)).collect();
        format!("id,correct\n{rows}")
    }));
    assert!(grouped.describe(None).notes.iter().any(|note| note.contains("cluster_id")));
}

#[test]
fn missing_is_kept_for_the_gate() {
    let options = ResultsOptions { missing: Missing::DropUpTo(0.5), ..ResultsOptions::default() };
    let bytes: &[u8] = b"id,x\na,1.5\nb,\nc,NaN\n";
    let table = rows_of(parse(&[("r.csv", bytes)], &options));
    assert_eq!(table.describe(None).metrics["x"].missing, 2);
}
