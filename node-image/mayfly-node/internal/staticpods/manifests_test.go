package staticpods

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFlagsThatAreSetLeaveTheUIDCounting(t *testing.T) {
	const before, after = "    - --a=1\n", "    - --a=2\n"
	for name, recorded := range map[string]string{"as recorded": before, "edited since": "    - --a=0\n"} {
		t.Run(name, func(t *testing.T) {
			records, path := t.TempDir(), filepath.Join(t.TempDir(), "etcd.yaml")
			if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := record(records, path, []byte(recorded)); err != nil {
				t.Fatal(err)
			}
			if err := setFlags(records, path, map[string]string{"a": "2"}); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != after {
				t.Fatalf("the manifest is %q, %v", got, err)
			}
			for content, want := range map[string]bool{
				after:    recorded == before,
				recorded: recorded != before,
			} {
				if got, err := isRecorded(records, path, []byte(content)); err != nil || got != want {
					t.Errorf("%q is recorded: %v, %v", content, got, err)
				}
			}
		})
	}
}

func TestNothingIsRecordedOfAManifestWithoutARecord(t *testing.T) {
	records, path := t.TempDir(), filepath.Join(t.TempDir(), "etcd.yaml")
	if err := os.WriteFile(path, []byte("    - --a=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := setFlags(records, path, map[string]string{"a": "2"}); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(records); err != nil || len(left) > 0 {
		t.Errorf("records %v, %v", left, err)
	}
}

func TestNamesOfPodsInManifests(t *testing.T) {
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var paths []string
	for name, content := range map[string]string{
		"a.yaml": "kind: Pod\nmetadata:\n  name: etcd\n  namespace: kube-system\n",
		"b.json": `{"metadata":{"name":"Own"}}`,
		"c.yaml": "- no\n- pod\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	slices.Sort(paths)
	got, err := NamesIn(paths)
	node := strings.ToLower(hostname)
	want := []Name{{"kube-system", "etcd-" + node}, {"default", "Own-" + node}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}
