package staticpods

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ManifestDir is the folder in which the kubelet looks for static pods.
const ManifestDir = "/etc/kubernetes/manifests"

// records holds, for each manifest and under the same name, the SHA-256 of every
// content for which the UID in it counts. The twin, by which the kubelet tells what
// somebody has edited, is in
// node-image/kubernetes/added/pkg/kubelet/config/mayfly_edited.go.
const records = "/mayfly/manifests"

// RecordManifests has the UIDs in the manifests count for what these say now.
func RecordManifests(context.Context) error {
	paths, err := filepath.Glob(ManifestDir + "/*.yaml")
	if err != nil {
		return err
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := record(records, path, content); err != nil {
			return err
		}
	}
	return nil
}

// replaceManifest gives a manifest another content for which its UID counts as it
// did for the one before: with both recorded, so that it counts at any moment.
func replaceManifest(records, path string, before, after []byte) error {
	counts, err := isRecorded(records, path, before)
	if err != nil {
		return err
	}
	if counts {
		if err := record(records, path, before, after); err != nil {
			return err
		}
	}
	if err := ReplaceFile(path, after); err != nil {
		return err
	}
	if counts {
		return record(records, path, after)
	}
	return nil
}

func record(records, path string, contents ...[]byte) error {
	if err := os.MkdirAll(records, 0o755); err != nil {
		return err
	}
	var sums strings.Builder
	for _, content := range contents {
		sums.WriteString(sumOf(content) + "\n")
	}
	return ReplaceFile(filepath.Join(records, filepath.Base(path)), []byte(sums.String()))
}

func isRecorded(records, path string, content []byte) (bool, error) {
	sums, err := os.ReadFile(filepath.Join(records, filepath.Base(path)))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return slices.Contains(strings.Fields(string(sums)), sumOf(content)), err
}

func sumOf(content []byte) string {
	return fmt.Sprintf("%x", sha256.Sum256(content))
}

// ReplaceFile makes a file appear whole. The kubelet takes no notice of names that
// begin with a dot.
func ReplaceFile(path string, content []byte) error {
	draft := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.WriteFile(draft, content, 0o600); err != nil {
		return err
	}
	return os.Rename(draft, path)
}
