use super::*;

fn encoded(act: impl FnOnce(&Metrics)) -> String {
    let metrics = Metrics::new();
    act(&metrics);
    metrics.encode()
}

fn has(output: &str, line: &str) {
    assert!(output.lines().any(|found| found == line), "no line {line:?} in\n{output}");
}

#[test]
fn every_family_appears_under_its_contracted_name() {
    let output = encoded(|metrics| {
        let flow = metrics.flow("contact");
        flow.exchange(Action::Init, 200, Duration::from_millis(3));
        flow.exchange(Action::Init, 200, Duration::from_secs(20));
        flow.exchange(Action::Ping, 418, Duration::ZERO);
        flow.error_notice("INVALID_SCREEN_TRANSITION");
        flow.error_notice("anything a stranger sends");
        flow.submission();
        metrics.signature_failure();
        metrics.undecryptable();
        metrics.submission_repeat();
        metrics.delivery("crm", DeliveryOutcome::Retry);
        metrics.delivery_lag(Duration::from_millis(700));
        metrics.set_deliveries("crm", DeliveryState::Due, 7);
        metrics.set_held("crm", HoldReason::Open, true);
        metrics.stale_lease();
        metrics.set_oldest_due(Duration::from_millis(1500));
        metrics.set_disk_free(1 << 20);
        metrics.witness(Witness::Confirmed);
        metrics.set_last_backup(7);
        flow.refused(432);
    });
    for line in [
        "formgate_up 1",
        concat!("formgate_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        r#"formgate_exchange_requests_total{flow="contact",action="INIT",status="200"} 2"#,
        r#"formgate_exchange_requests_total{flow="contact",action="ping",status="other"} 1"#,
        r#"formgate_exchange_seconds_bucket{le="0.002"} 1"#,
        r#"formgate_exchange_seconds_bucket{le="0.005"} 2"#,
        r#"formgate_exchange_seconds_bucket{le="10.0"} 2"#,
        r#"formgate_exchange_seconds_bucket{le="+Inf"} 3"#,
        "formgate_exchange_seconds_sum 20.003",
        "formgate_exchange_seconds_count 3",
        r#"formgate_error_notices_total{flow="contact",error="invalid-screen-transition"} 1"#,
        r#"formgate_error_notices_total{flow="contact",error="other"} 1"#,
        r#"formgate_submissions_total{flow="contact"} 1"#,
        "formgate_signature_failures_total 1",
        "formgate_undecryptable_total 1",
        "formgate_submission_repeats_total 1",
        r#"formgate_deliveries_total{destination="crm",outcome="retry"} 1"#,
        r#"formgate_delivery_lag_seconds_bucket{le="1.0"} 1"#,
        r#"formgate_deliveries{destination="crm",state="due"} 7"#,
        r#"formgate_destination_held{destination="crm",reason="open"} 1"#,
        "formgate_stale_leases_total 1",
        "formgate_oldest_due_seconds 1.5",
        "formgate_disk_free_bytes 1048576",
        r#"formgate_confirmations_total{outcome="confirmed"} 1"#,
        "formgate_last_backup_timestamp_seconds 7",
        r#"formgate_exchange_requests_total{flow="contact",action="unknown",status="432"} 1"#,
        "# TYPE formgate_deliveries_total counter",
        "# TYPE formgate_deliveries gauge",
        "# HELP formgate_submissions_total Submissions acknowledged.",
    ] {
        has(&output, line);
    }
}

#[test]
fn a_flow_asked_for_twice_counts_into_the_same_series() {
    let output = encoded(|metrics| {
        metrics.flow("contact").submission();
        metrics.flow("contact").submission();
        metrics.flow("contact").refused(421);
        metrics.flow("contact").exchange(Action::Init, 503, Duration::ZERO);
        metrics.flow("contact").error_notice("timeout_error");
        let counted = FlowTotals { undecryptable: 1, failed: 1, notices: 1, ..FlowTotals::default() };
        assert_eq!(metrics.flow_totals(), BTreeMap::from([("contact".into(), counted)]));
    });
    has(&output, r#"formgate_submissions_total{flow="contact"} 2"#);
}
