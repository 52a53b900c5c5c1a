package rollback

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"mayfly.io/node-image/mayfly-node/internal/staticpods"
)

// filesDir is the folder of a snapshot that holds a node's files.
const filesDir = "files"

// kubeletFiles are those that the kubelet reads when it starts.
var kubeletFiles = []string{"/var/lib/kubelet/config.yaml", "/var/lib/kubelet/kubeadm-flags.env"}

// nodeFiles are the files that make a node what it is and that exist.
func nodeFiles() ([]string, error) {
	static, err := filepath.Glob(staticpods.ManifestDir + "/*")
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(append(static, kubeletFiles...), func(path string) bool {
		info, err := os.Stat(path)
		return err != nil || !info.Mode().IsRegular()
	}), nil
}

func saveFiles(dir string) error {
	paths, err := nodeFiles()
	if err != nil {
		return err
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(dir, filesDir, path), content); err != nil {
			return err
		}
	}
	return nil
}

// restoreFiles puts back what changed and takes away what was added. It returns
// the paths of those files.
func restoreFiles(dir string) ([]string, error) {
	saved := filepath.Join(dir, filesDir)
	var changed []string
	// A node that was made anew is as it was made first, and remembers nothing.
	if _, err := os.Stat(saved); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	err := filepath.WalkDir(saved, func(from string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		path := from[len(saved):]
		wanted, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if is, err := os.ReadFile(path); err == nil && bytes.Equal(is, wanted) {
			return nil
		}
		changed = append(changed, path)
		return writeFile(path, wanted)
	})
	if err != nil {
		return changed, err
	}
	present, err := nodeFiles()
	if err != nil {
		return changed, err
	}
	for _, path := range present {
		if _, err := os.Stat(filepath.Join(saved, path)); errors.Is(err, fs.ErrNotExist) {
			changed = append(changed, path)
			if err := os.Remove(path); err != nil {
				return changed, err
			}
		}
	}
	return changed, nil
}

// staticPodsOf are the pods of manifests that were put back.
func staticPodsOf(changed []string) ([]staticpods.Name, error) {
	var manifests []string
	for _, path := range changed {
		if filepath.Dir(path) != staticpods.ManifestDir {
			continue
		}
		if _, err := os.Stat(path); err == nil { // or else it was taken away
			manifests = append(manifests, path)
		}
	}
	return staticpods.NamesIn(manifests)
}

// writeFile makes the file appear whole, and its folder: the kubelet watches for it.
func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return staticpods.ReplaceFile(path, content)
}
