#!/bin/busybox sh
# busybox on a disk: copies, sorts, packs and removes files, and says what has become of them.
set -e

busybox seq 1 5000 > numbers
busybox awk 'BEGIN { for (i = 0; i < 5000; i++) print (i * 7919) % 5003 }' > mixed
busybox sort -n mixed > sorted
busybox head -3 sorted
busybox uniq sorted | busybox wc -l

busybox mkdir -p tree/a/b tree/c tree/empty
busybox cp numbers tree/a/first
busybox dd if=numbers of=tree/a/b/blocks bs=1000 count=7 skip=3 2>/dev/null
busybox dd if=sorted of=tree/c/holes bs=4096 count=2 seek=9 2>/dev/null
busybox dd if=numbers of=tree/c/holes bs=100 count=1 seek=3 conv=notrunc 2>/dev/null
busybox ln -s ../a/first tree/c/link
busybox ln mixed tree/c/second-name
busybox cmp numbers tree/a/first && echo same
busybox cmp numbers tree/c/holes || echo different

busybox tar cf packed.tar tree
busybox mkdir out
busybox tar xf packed.tar -C out
busybox find out | busybox sort
busybox find tree -type f | busybox sort | busybox xargs busybox md5sum > sums
(cd out && busybox md5sum -c ../sums)

busybox mv out/tree/a/first out/moved
busybox mv -f numbers out/moved
busybox mv out elsewhere
busybox rm -r elsewhere/tree/c
busybox rmdir elsewhere/tree/empty
busybox gzip -c packed.tar | busybox gunzip -c | busybox cmp - packed.tar && echo unpacked
busybox sed -n '100,102p' elsewhere/moved
busybox grep -c 7 mixed
busybox sync
for name in $(busybox seq 1 60); do echo "$name" > "elsewhere/$name"; done
busybox ls elsewhere | busybox wc -l
busybox rm elsewhere/*5
busybox find . | busybox sort | busybox md5sum
# It has times in it.
busybox rm packed.tar
