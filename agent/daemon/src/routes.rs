//! Routes for the gateway, and what it reports, between the wire and its own types.

use runyard_gateway::{Ready, Replica, Route, RouteRevision};
use runyard_proto::agent as wire;
use runyard_types::{DeploymentName, ProjectName, TaskKey};

/// The routes of a desired set. What is malformed is left out and said: it must not take the rest
/// down with it.
pub(crate) fn routes(routes: &[wire::Route]) -> Vec<Route> {
    let converted = routes.iter().filter_map(|one| match route(one) {
        Ok(route) => Some(route),
        Err(error) => {
            tracing::warn!(deployment = one.deployment, error, "a route is malformed");
            None
        }
    });
    converted.collect()
}

fn route(route: &wire::Route) -> Result<Route, String> {
    let project = ProjectName::new(&route.project).map_err(|error| error.to_string())?;
    let deployment = DeploymentName::new(&route.deployment).map_err(|error| error.to_string())?;
    let revisions = route.revisions.iter().map(|one| revision(&project, one));
    Ok(Route {
        revisions: revisions.collect::<Result<_, _>>()?,
        project: project.clone(),
        deployment,
        latch: route.latch,
        serving: route.serving,
        drain_ms: route.drain_ms,
    })
}

fn revision(project: &ProjectName, one: &wire::RouteRevision) -> Result<RouteRevision, String> {
    let replicas = one.replicas.iter().map(|replica| {
        let task = TaskKey::parse(project, &replica.task).map_err(|error| error.to_string())?;
        Ok(Replica { task, address: replica.address.clone() })
    });
    Ok(RouteRevision {
        number: one.number,
        weight_permille: one.weight_permille,
        replicas: replicas.collect::<Result<_, String>>()?,
        ready: Ready {
            path: one.ready_path.clone(),
            within_ms: one.ready_within_ms,
            warm_up: one.warm_up.to_vec(),
        },
        baseline_requests: one.baseline_requests,
        baseline_errors: one.baseline_errors,
    })
}

/// What the gateway knows of its revisions.
pub(crate) fn reports(gateway: &runyard_gateway::Gateway) -> Vec<wire::RevisionReport> {
    let all = gateway.reports().into_iter().map(|report| wire::RevisionReport {
        project: report.project.to_string(),
        deployment: report.deployment.to_string(),
        revision: report.revision,
        ready: report.ready,
        detail: report.detail,
        requests: report.requests,
        errors: report.errors,
        e_value: report.e_value,
        rolled_back: report.rolled_back,
        reason: report.reason,
        failed: report.failed,
        affected: report.affected,
    });
    all.collect()
}
