//! `.runyardignore`: what the code snapshot leaves out besides what git ignores.

use std::path::Path;

use super::repository::Repository;

pub(super) const NAME: &str = ".runyardignore";

/// The file's text; `None` where there is one already, which is never replaced.
pub(super) fn text(root: &Path, repository: &Repository) -> Option<String> {
    if root.join(NAME).symlink_metadata().is_ok() {
        return None;
    }
    let mut text =
        "# What the code snapshot leaves out, besides what .gitignore names (same syntax).\n\
                    # Changes to other files make stages run again; see `code:` to narrow that.\n\
                    *.md\n.github/\n.vscode/\n.idea/\n__pycache__/\n*.ipynb\n"
            .to_owned();
    if !repository.in_git {
        text.push_str(".venv/\nvenv/\n");
        for data in &repository.data {
            let slash = if data.folder { "/" } else { "" };
            text.push_str(&format!("/{}{slash}\n", data.path));
        }
    }
    Some(text)
}
