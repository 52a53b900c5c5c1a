package entrypoint

import (
	"context"
	"os"
	"path/filepath"
)

// journalFlushed is how journald knows that /var can be written to. A service
// that nodes do without creates it on other hosts; until then the journal is in
// memory, and gone with the container (systemd-journald.service(8)).
const journalFlushed = "/run/systemd/journal/flushed"

// keepJournal has the journal on the node's volume from its first line on.
func keepJournal(context.Context) error {
	if err := os.MkdirAll(filepath.Dir(journalFlushed), 0o755); err != nil {
		return err
	}
	return os.WriteFile(journalFlushed, nil, 0o644)
}
