package rollback

import (
	"bufio"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// stateFile is the file of a snapshot's folder that holds etcd's keys.
const stateFile = "state"

// stateVersion is raised when the format of that file changes.
const stateVersion = 1

// savedState is every key of a saved state.
type savedState map[string]savedEntry

type savedEntry struct {
	Value []byte
	// Revision is the last one that is known to have had this value.
	Revision int64
}

// A state file is a stream of gobs: the version, then one record a key.
type record struct {
	Key      string
	Value    []byte
	Revision int64
}

// writeState replaces the state of a snapshot, all of it or nothing.
func writeState(dir string, state savedState) error {
	draft, err := os.CreateTemp(dir, stateFile+"-")
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name())
	defer draft.Close()
	buffered := bufio.NewWriterSize(draft, 1<<16)
	stream := gob.NewEncoder(buffered)
	if err := stream.Encode(stateVersion); err != nil {
		return err
	}
	for key, entry := range state {
		if err := stream.Encode(record{key, entry.Value, entry.Revision}); err != nil {
			return err
		}
	}
	if err := errors.Join(buffered.Flush(), draft.Close()); err != nil {
		return err
	}
	return os.Rename(draft.Name(), filepath.Join(dir, stateFile))
}

func readState(dir string) (savedState, error) {
	file, err := os.Open(filepath.Join(dir, stateFile))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	stream := gob.NewDecoder(bufio.NewReaderSize(file, 1<<16))
	var version int
	if err := stream.Decode(&version); err != nil {
		return nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	if version != stateVersion {
		return nil, fmt.Errorf("%s has version %d, not %d", file.Name(), version, stateVersion)
	}
	state := savedState{}
	for {
		var r record
		switch err := stream.Decode(&r); {
		case errors.Is(err, io.EOF):
			return state, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", file.Name(), err)
		}
		state[r.Key] = savedEntry{r.Value, r.Revision}
	}
}
