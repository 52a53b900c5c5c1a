package staticpods

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFlagsOfAManifestAreSet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "etcd.yaml")
	manifest := "metadata:\n  name: etcd\n  uid: f00\nspec:\n  containers:\n  - command:\n    - etcd\n    - --heartbeat-interval=20\n    - --own=1\n"
	if err := os.WriteFile(path, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := setFlags(t.TempDir(), path, map[string]string{"heartbeat-interval": "100"}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	want := "metadata:\n  name: etcd\n  uid: f00\nspec:\n  containers:\n  - command:\n    - etcd\n    - --heartbeat-interval=100\n    - --own=1\n"
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
	if err := setFlags(t.TempDir(), filepath.Join(t.TempDir(), "none.yaml"), nil); err != nil {
		t.Errorf("a manifest that is not there: %v", err)
	}
}

func TestAContainerHasItsFlags(t *testing.T) {
	command := []string{"etcd", "--a=1", "--b=2"}
	if !hasFlags(command, map[string]string{"a": "1", "b": "2"}) {
		t.Error("it has them")
	}
	if hasFlags(command, map[string]string{"a": "1", "b": "3"}) {
		t.Error("one has another value")
	}
}
