//! Copies a NetCDF classic file into a group of a NetCDF-4 file and back: dimensions, attributes, and the data of all
//! variables but the coded ones. The classic model has no groups, user types or filters, so names and types suffice.

use super::nc::{NcFile, NcGroup, NcResult, NcVariable};

/// Copies everything from `from` to `to`, a group of the open file `file`; the coded variables are only defined.
pub(crate) fn copy_classic(from: NcGroup<'_>, to: NcGroup<'_>, file: &NcFile, coded: &[String]) -> NcResult<()> {
    let mut dims = Vec::new();
    for dim in from.dimensions()? {
        let len = (!dim.unlimited).then_some(dim.len);
        dims.push((dim.id, to.add_dimension(&dim.name, len)?));
    }
    from.copy_attributes_to(to)?;
    let mut pairs: Vec<(NcVariable<'_>, NcVariable<'_>)> = Vec::new();
    for old in from.variables()? {
        let (name, ids) = (old.name()?, old.dimension_ids()?);
        let new_id = |id: &i32| dims.iter().find(|(old, _)| old == id).map(|(_, new)| *new);
        let ids: Vec<i32> = ids.iter().filter_map(new_id).collect();
        let new = to.add_variable(&name, old.xtype()?, &ids)?;
        old.copy_attributes_to(new)?;
        if !coded.contains(&name) {
            pairs.push((old, new));
        }
    }
    file.end_definitions()?;
    pairs.into_iter().try_for_each(|(old, new)| old.copy_data_to(new))
}
