-- Orthanc sends every MR series to sgmri once no instance of it has come for StableAge seconds.
--
-- In orthanc.json:
--   "LuaScripts": ["/etc/orthanc/send-to-sgmri.lua"],
--   "StableAge": 15,
--   "DicomModalities": {"sgmri": {"AET": "SGMRI", "Host": "192.0.2.10", "Port": 11112,
--                                 "AllowMove": true, "AllowStorageCommitment": true}}
-- In sgmri.toml: Orthanc's AE title as a peer, and as the destination.
--
-- Results do not come back in a circle: they are no MR, and what names their maker is not sent. What is sent twice
-- all the same (a late instance makes the series stable again) is read once, or again if it has grown.

local SGMRI = 'sgmri'                   -- the name in DicomModalities
local MANUFACTURER = 'sgmri project'    -- of every object that sgmri writes

function OnStableSeries(seriesId, tags, metadata, origin)
  if tags['Modality'] ~= 'MR' or tags['Manufacturer'] == MANUFACTURER then
    return
  end
  -- Permissive would report success where nothing was sent. A job that fails while sgmri is down is not repeated
  -- by Orthanc: the sweep ([sweep] in sgmri.toml) fetches what was missed.
  RestApiPost('/modalities/' .. SGMRI .. '/store',
    DumpJson({Resources = {seriesId}, Synchronous = false, Permissive = false}, true))
end
