//! Whether the types of the columns are made of the same on both sides. They are found by name, and
//! two of one name may differ in what their values are read by.

use super::{Failure, plan::PlannedTable, servers::Servers};
use crate::{
    catalog::{compare_composition, load_composition},
    conn::Error,
};

/// Each type that differs, as a refusal. One query a side for all tables.
pub(super) async fn differences(
    servers: &mut Servers,
    tables: &[PlannedTable],
) -> Result<Vec<Failure>, Failure> {
    let mut names: Vec<_> = (tables.iter())
        .flat_map(|table| table.source.stored_columns())
        .map(|column| column.type_name.clone())
        .collect();
    names.sort_unstable();
    names.dedup();
    let failed = |error: Error| Failure::refused_by("looking at types", &error);
    let (source, target) = (&mut servers.source, &mut servers.target);
    let (ours, theirs) =
        tokio::join!(load_composition(source, &names), load_composition(target, &names));
    let differences = compare_composition(&ours.map_err(failed)?, &theirs.map_err(failed)?);
    Ok(differences.into_iter().map(|d| Failure::refused(d.what, d.mend)).collect())
}
