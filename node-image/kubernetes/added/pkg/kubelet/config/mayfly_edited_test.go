package config

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/klog/v2/ktesting"
	api "k8s.io/kubernetes/pkg/apis/core"
)

func TestUIDOfAManifest(t *testing.T) {
	recordedManifests = t.TempDir()
	manifest := filepath.Join(t.TempDir(), "etcd.yaml")
	write := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	record := func(contents ...string) {
		t.Helper()
		var text string
		for _, content := range contents {
			text += fmt.Sprintf("%x\n", sha256.Sum256([]byte(content)))
		}
		write(filepath.Join(recordedManifests, "etcd.yaml"), text)
	}
	uid := func(source string, isFile bool) string {
		t.Helper()
		pod := &api.Pod{}
		pod.UID = "of-the-manifest"
		logger, _ := ktesting.NewTestContext(t)
		if err := applyDefaults(logger, pod, source, isFile, "node"); err != nil {
			t.Fatal(err)
		}
		return string(pod.UID)
	}

	write(manifest, "as it was")
	if got := uid(manifest, true); got != "of-the-manifest" {
		t.Errorf("nothing is recorded: got UID %q", got)
	}
	record("as it was")
	if got := uid(manifest, true); got != "of-the-manifest" {
		t.Errorf("content as recorded: got UID %q", got)
	}
	write(manifest, "edited")
	edited := uid(manifest, true)
	if edited == "of-the-manifest" || edited == "" {
		t.Errorf("edited: got UID %q", edited)
	}
	if got := uid(manifest, false); got != "of-the-manifest" {
		t.Errorf("from a URL: got UID %q", got)
	}
	record("as it was", "edited")
	if got := uid(manifest, true); got != "of-the-manifest" {
		t.Errorf("one of two contents: got UID %q", got)
	}
	write(manifest, "as it was")
	if got := uid(manifest, true); got != "of-the-manifest" {
		t.Errorf("content as it was again: got UID %q", got)
	}
}
