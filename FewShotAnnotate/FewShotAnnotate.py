"""What Slicer loads: it announces the module, its parameters, panel, logic and self-test.

Slicer imports this file whenever it starts, so panel and logic are imported when the first of them is made.
"""

import slicer
from fewshot_annotate.host.effect.registration import register_effect
from fewshot_annotate.host.mrml.sample_data import register_sample_data
from fewshot_annotate.host.panel.shortcuts import shortcut_help
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest

DOCUMENTATION = "https://github.com/FewShotAnnotate/SlicerFewShotAnnotate/tree/main/Resources/Documentation"


class FewShotAnnotate(ScriptedLoadableModule):
    """What Slicer's module list shows."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Few-Shot Annotate")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "SubjectHierarchy"]
        self.parent.contributors = ["FewShotAnnotate developers (FewShotAnnotate project)"]
        self.parent.helpText = _(
            "Paint a few slices of a volume and let the slices between be filled. "
            "Painted slices are never changed; a fill is one undo step."
        )
        self.parent.helpText += "<p>" + shortcut_help() + "</p>"
        self.parent.helpText += '<p><a href="{address}">{text}</a></p>'.format(
            address=DOCUMENTATION, text=_("Tutorial, panel reference and troubleshooting")
        )
        self.parent.acknowledgementText = _("Licensed under Apache-2.0.")
        slicer.app.connect("startupCompleted()", register_sample_data)
        slicer.app.connect("startupCompleted()", register_effect)


@parameterNodeWrapper
class FewShotAnnotateParameterNode:
    """What the user chose; saved with the scene.

    volume - The volume to label.
    segmentation - The segmentation with the painted slices.
    engine - Name of the engine, or 'auto'.
    fillAll - Whether slices outside the painted range are filled too.
    complete - Whether painted slices show all that is there.
    mayOverwrite - Whether other segments may lose voxels.
    """

    volume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    engine: str = "auto"
    fillAll: bool = False
    complete: bool = True
    mayOverwrite: bool = False


class FewShotAnnotateLogic:
    """The module without its panel, on the application's scene."""

    def __new__(cls):
        """The logic; Slicer knows it by the name of its class."""
        from fewshot_annotate.host.module_logic import ModuleLogic

        class FewShotAnnotateLogic(ModuleLogic):
            def getParameterNode(self):
                """The parameter node, wrapped."""
                return FewShotAnnotateParameterNode(super().getParameterNode())

        return FewShotAnnotateLogic()


class FewShotAnnotateWidget:
    """The panel."""

    def __new__(cls, parent=None):
        """The panel; Slicer knows it by the name of its class."""
        from fewshot_annotate.host.panel.module_panel import ModulePanel

        class FewShotAnnotateWidget(ModulePanel):
            def makeLogic(self):
                """The logic of this panel."""
                return FewShotAnnotateLogic()

        return FewShotAnnotateWidget(parent)


class FewShotAnnotateTest(ScriptedLoadableModuleTest):
    """The steps of Testing/MANUAL.md that need no eyes, on a real volume from Sample Data."""

    def setUp(self):
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run all tests of this class."""
        self.setUp()
        self.test_manualSteps()

    def test_manualSteps(self):
        """From painted slices to an export, with cancel, undo, review, refill and the Segment Editor effect."""
        import SampleData
        from fewshot_annotate.host.self_test.self_test import SelfTest

        slicer.util.selectModule("FewShotAnnotate")
        volume = SampleData.SampleDataLogic().downloadSample("MRHead")
        SelfTest(slicer.modules.FewShotAnnotateWidget, self, volume).run()
