use super::*;

fn answer() -> v1::MetricsResponse {
    let point = |step: i64, value: f64| v1::Point { step, at_ms: 1_000 + step as u64, value };
    let sample = |at_ms, busy| v1::DeviceSample {
        at_ms,
        utilization_ratio: Some(busy),
        memory_used_bytes: None,
        temperature_celsius: Some(61.0),
        power_watts: None,
    };
    v1::MetricsResponse {
        series: vec![v1::Series {
            task: "digits-1/train".into(),
            name: "loss".into(),
            points: vec![point(0, 2.0), point(1, f64::NAN), point(2, 0.5)],
        }],
        devices: vec![v1::DeviceSeries {
            node: "gpu-01".into(),
            device: "GPU-0".into(),
            samples: vec![sample(1, 0.1), sample(2, 0.9)],
        }],
    }
}

fn look() -> Look {
    Look { now_ms: 0, wide: false, width: None, color: false }
}

#[test]
fn a_row_a_series_with_its_trend() {
    let table = Metrics { answer: answer(), csv: false }.table(&look());
    insta::assert_snapshot!(table.render(&look()));
}

#[test]
fn csv_has_a_row_a_point() {
    let table = Metrics { answer: answer(), csv: true }.table(&look());
    assert_eq!(
        table.csv(),
        "task,metric,step,at_ms,value\ndigits-1/train,loss,0,1000,2\n\
         digits-1/train,loss,1,1001,NaN\ndigits-1/train,loss,2,1002,0.5\n"
    );
}

#[test]
fn devices_show_what_their_driver_tells() {
    let devices = Devices { answer: answer(), csv: false };
    insta::assert_snapshot!(devices.table(&look()).render(&look()));
    let csv = Devices { answer: answer(), csv: true }.table(&look()).csv();
    assert_eq!(csv.lines().count(), 3, "{csv}");
}
