package podshare

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestTheCgroupOfAllPodsIsFoundInEitherVersion(t *testing.T) {
	for file, want := range map[string]string{"kubelet/cpu.weight": "800", "cpu/kubelet/cpu.shares": "8192"} {
		root := t.TempDir()
		path := filepath.Join(root, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
		if err := set(root, firstShares, firstWeight); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != want {
			t.Errorf("%s has %q, not %s", file, got, want)
		}
	}
}

func TestWithoutThatCgroupNothingIsMade(t *testing.T) {
	root := t.TempDir()
	if err := set(root, usualShares, usualWeight); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(root); len(left) > 0 {
		t.Errorf("made %v", left)
	}
}
