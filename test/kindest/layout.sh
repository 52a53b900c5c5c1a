#!/bin/sh
# Turns the file system of mayfly's own node image into the layout of a published kindest/node image. Runs as a build
# step, after kind's own files were copied to their places (https://github.com/kubernetes-sigs/kind, images/base).
set -eu
layers=/usr/share/mayfly/layers
work=/var/tmp/images
mkdir -p "$work"

# kubeadm, kubelet and kubectl are in /usr/bin, where kind's units look for them; all else of Kubernetes is in images.
rm /usr/local/bin/kube[a-l]* /usr/local/bin/kube-*
ln -s /usr/local/bin/kubernetes /usr/bin/kubelet
for program in kubeadm kubectl; do ln -s /usr/local/bin/kubernetes-tools /usr/bin/$program; done
mv /usr/local/bin/mayfly-node /usr/local/bin/crictl
mv /usr/local/bin/runc /usr/local/sbin/runc
chmod 755 /usr/local/bin/entrypoint /kind/bin/*

# What kind gives to every container: a hook in its specification.
ctr oci spec |
  jq '.hooks.createContainer += [{"path": "/kind/bin/mount-product-files.sh"}] | del(.process.rlimits)' >/etc/containerd/cri-base.json

# Units: what kind enables, and nothing of ours.
rm -r /etc/systemd/system/multi-user.target.wants /etc/systemd/system/mayfly-* /etc/systemd/system/default.target
rm /etc/systemd/*/mayfly.conf
systemctl enable kubelet.service containerd.service undo-mount-hacks.service

# Core images in containerd's content store, as archives that are not unpacked.
mkdir -p "$layers/deletion/etc"
touch "$layers/deletion/etc/.wh.nsswitch.conf"
for layer in "$layers"/*; do
  tar -C "$layer" --sort=name --numeric-owner -cf "$work/$(basename "$layer").tar" .
done
kubeadm config images list --kubernetes-version="$(cat /kind/version)" 2>/dev/null |
  jq -Rn '[inputs | {key: (split("/")[-1] | split(":")[0]), value: .}] | from_entries' >/names.json
jq -c --slurpfile names /names.json '.[] | .name = ($names[0][.name] // .name)' /images.json | while read -r image; do
  config=$(echo "$image" | sha256sum | cut -c1-16).json
  diffs=$(for layer in $(echo "$image" | jq -r '.layers[]'); do sha256sum <"$work/$layer.tar"; done |
    jq -Rn '[inputs | "sha256:" + .[:64]]')
  echo "$image" | jq --argjson diffs "$diffs" --arg arch "$(dpkg --print-architecture)" \
    '{architecture: $arch, os: "linux", config, rootfs: {type: "layers", diff_ids: $diffs}}' >"$work/$config"
  echo "$image" | jq --arg config "$config" '{Config: $config, RepoTags: [.name], Layers: [.layers[] + ".tar"]}'
done | jq -s . >"$work/manifest.json"
rm -rf /var/lib/containerd
containerd --log-level=error &
until ctr version >/dev/null 2>&1; do sleep 0.1; done
tar -C "$work" -c . |
  ctr --namespace=k8s.io images import --label=io.cri-containerd.pinned=pinned --all-platforms --no-unpack --digests -
kill $!
wait $! || true

rm -r "$work" /usr/share/mayfly /run/containerd /images.json /names.json /layout.sh
