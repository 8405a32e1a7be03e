#!/bin/sh
# A folder of DICOM files to sgmri with DCMTK; SCANNER1 must be a peer in sgmri.toml.
# TCP_NODELAY=1: without it DCMTK waits some 40 ms for each instance.
#
#   send-study.sh FOLDER [HOST [PORT]]
set -eu
folder=$1 host=${2:-127.0.0.1} port=${3:-11112}
TCP_NODELAY=1 exec dcmsend --aetitle SCANNER1 --call SGMRI --scan-directories --recurse --no-halt "$host" "$port" "$folder"
