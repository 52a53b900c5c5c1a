package entrypoint

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestHostsChangeTheirAddress(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	before := "127.0.0.1\tlocalhost\n172.28.0.3\tcontrol-plane.example\n172.28.0.4\tnode\n"
	if err := os.WriteFile(path, []byte(before), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := setHosts(path, map[string]string{"control-plane.example": "172.28.0.2", "nobody": "::1"}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	want := "127.0.0.1\tlocalhost\n172.28.0.2\tcontrol-plane.example\n172.28.0.4\tnode\n"
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestNodeDocumentRemembersWhereTheControlPlaneIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.json")
	before := `{"base":"/b","apiService":{"addresses":["10.96.0.1"],"endpoint":"172.28.0.3:6443"},"later":[1]}`
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := changeNodeDocument(path, map[string]string{"control-plane.example": "172.28.0.2"}, "172.28.0.2:6443"); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"base":       "/b",
		"later":      []any{1.0},
		"hosts":      map[string]any{"control-plane.example": "172.28.0.2"},
		"apiService": map[string]any{"addresses": []any{"10.96.0.1"}, "endpoint": "172.28.0.2:6443"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}
